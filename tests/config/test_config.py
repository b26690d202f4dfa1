"""Configuration: unknown keys are refused, every problem is named, values survive a round trip."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from conceptbasis.config.base import load_yaml, parse_config
from conceptbasis.config.evaluation import JudgeSection
from conceptbasis.config.model import ModelConfig, load_model_config
from conceptbasis.config.renamed import RENAMED
from conceptbasis.config.run import RunConfig, load_run_config
from conceptbasis.errors import ConfigError


def parse(values, kind=RunConfig):
    return parse_config(kind, values, "here.yaml")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# Unknown keys and wrong values

FIT_KEYS = "keys of fit: n_atoms, mass, n_resamples"
TYPES = "values of the types that docs/configuration.md names"


@pytest.mark.parametrize(
    ("values", "named", "expected"),
    [
        (
            {"bugdet": "B0"},
            "unknown key 'bugdet' (did you mean 'budget'?)",
            f"keys: {', '.join(RunConfig.model_fields)}",
        ),
        ({"fit": {"n_atom": 3}}, "'fit.n_atom' (did you mean 'n_atoms'?)", FIT_KEYS),
        ({"fit": {"zzz": 3}}, "unknown key 'fit.zzz'", FIT_KEYS),
        ({"fit": {"n_atom": 3, "n_atoms": "many"}}, "unknown key 'fit.n_atom'", FIT_KEYS),
        ({"fit": {"n_atoms": "many"}}, "fit.n_atoms: ", TYPES),
        ({"fit": {"n_atoms": 0}}, "fit.n_atoms: ", TYPES),
        ({"fit": 3}, "fit: ", TYPES),
        ({"budget": "B3"}, "budget: ", TYPES),
        ({"match": {"r_min": 1.5}}, "match.r_min: ", TYPES),
        ({"replay": {"scope": "omp"}}, "replay.scope: ", TYPES),
        ({"harvest": {"splits": [0.5, 0.5]}}, "harvest.splits.2: ", TYPES),
    ],
)
def test_bad_key_or_value_is_named_with_its_file(values, named, expected):
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert caught.value.what.startswith("here.yaml: ")
    assert named in caught.value.what
    assert caught.value.expected == expected


def test_every_problem_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        parse({"a": 1, "fit": {"b": 2, "n_atoms": -1}})
    assert all(name in caught.value.what for name in ("'a'", "'fit.b'", "fit.n_atoms"))


def test_values_within_bounds_are_taken():
    config = parse({"budget": "B0", "fit": {"n_atoms": 3}, "harvest": {"splits": [0.5, 0.3, 0.2]}})
    assert (config.budget, config.fit.n_atoms) == ("B0", 3)
    assert config.harvest.splits == (0.5, 0.3, 0.2)
    assert config.match == RunConfig().match


@pytest.mark.parametrize("splits", [[0.6, 0.6, 0.2], [0.5, 0.2, 0.2], [1.2, -0.1, -0.1], [1, 0, 0]])
def test_splits_must_be_three_shares_of_one(splits):
    with pytest.raises(ConfigError, match="splits must be three positive shares"):
        parse({"harvest": {"splits": splits}})


@pytest.mark.parametrize(
    "values",
    [
        {"transfer": {"ridges": []}},
        {"transfer": {"ridges": [0.1, -1.0]}},
        {"guard": {"shares": []}},
        {"guard": {"shares": [0.0, 1.5]}},
    ],
)
def test_grids_to_choose_from_hold_usable_values(values):
    (section,) = values
    with pytest.raises(ConfigError, match=section):
        parse(values)


def test_configuration_is_frozen():
    config = RunConfig()
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_keys_are_refused_with_the_new_name(old, new):
    *sections, key = old.split(".")
    values = {key: {}}
    for section in reversed(sections):
        values = {section: values}
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert (
        f"{old!r} is called {new!r} now" in caught.value.what if new else "is gone" in str(caught)
    )


def test_old_values_are_refused_with_the_new_name():
    with pytest.raises(ConfigError, match="'trajectory' is called 'per_layer' now"):
        load_run_config(None, ["replay.directions=trajectory"])


def test_new_names_are_keys_of_the_configuration():
    for new in filter(None, RENAMED.values()):
        kind = RunConfig
        for part in new.split("."):
            kind = {"judge": JudgeSection}.get(part) or kind.model_fields[part].annotation


# Sections with rules of their own


def test_weight_edits_need_the_writers_scope():
    with pytest.raises(ConfigError, match=r"set replay\.scope to writers"):
        parse({"replay": {"mode": "orthogonalise"}})
    assert parse({"replay": {"mode": "orthogonalise", "scope": "writers"}}).replay.mode
    assert parse({"replay": {"mode": "ablate"}}).replay.scope == "stream"


RELEASE = {"release": "r", "sae_ids": {0: "layer_0"}}


@pytest.mark.parametrize(
    "saes",
    [
        {},
        {"train": {}, "folder": "saes"},
        {"release": RELEASE, "folder": "saes"},
        {"train": {}, "release": RELEASE, "folder": "saes"},
    ],
)
def test_sae_source_is_exactly_one(saes):
    with pytest.raises(ConfigError, match="give exactly one of train, release, folder"):
        parse({"name": "n", "model": "m", "saes": saes}, ModelConfig)


@pytest.mark.parametrize("saes", [{"train": {}}, {"release": RELEASE}, {"folder": "saes"}])
def test_each_sae_source_alone_is_taken(saes):
    source = parse({"name": "n", "model": "m", "saes": saes}, ModelConfig).saes
    given = source.model_dump(include={"train", "release", "folder"})
    assert [k for k, v in given.items() if v is not None] == list(saes)


def test_model_without_a_name_of_a_model_is_refused():
    with pytest.raises(ConfigError, match="model: "):
        parse({"name": "n"}, ModelConfig)


# Files


def test_model_file_gives_its_name(tmp_path):
    path = write(tmp_path / "small.yaml", "model: organism:llama:0\nlayers: [0, 2]\n")
    config = load_model_config(path)
    assert (config.name, config.layers) == ("small", (0, 2))
    assert config.saes.train is not None
    write(path, "model: m\nname: other\n")
    assert load_model_config(path).name == "other"


@pytest.mark.parametrize(("text", "kind"), [("- a\n- b\n", "list"), ("word", "str"), ("3", "int")])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text, kind):
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError, match=f"holds a {kind}") as caught:
        load_yaml(path)
    assert str(path) in caught.value.what


@pytest.mark.parametrize("text", ["a: [1, 2\n", "a: b: c", "\t- x"])
def test_text_that_is_no_yaml_is_refused(tmp_path, text):
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_run_config(path)
    assert str(path) in caught.value.what


def test_keys_of_a_nested_section_are_listed():
    values = {"name": "m", "model": "m", "saes": {"train": {"kk": 3}}, "modle": 3}
    with pytest.raises(ConfigError) as caught:
        parse(values, ModelConfig)
    assert "keys of saes.train: architecture, d_sae, k" in caught.value.expected
    assert "keys: name, model" in caught.value.expected


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no configuration at") as caught:
        load_run_config(tmp_path / "none.yaml")
    assert "none.yaml" in caught.value.what
    with pytest.raises(ConfigError, match="no configuration at"):
        load_model_config(tmp_path / "none.yaml")


def test_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read") as caught:
        load_run_config(tmp_path)
    assert str(tmp_path) in caught.value.what


def test_empty_file_means_defaults(tmp_path):
    assert load_run_config(write(tmp_path / "c.yaml", "")) == RunConfig()


# Overrides


def test_overrides_lie_on_top_of_the_file(tmp_path):
    path = write(tmp_path / "c.yaml", "budget: B0\nfit: {n_atoms: 8, n_resamples: 20}\n")
    config = load_run_config(
        path, ["fit.n_atoms=16", "transfer.ridges=[0.1, 1]", "forecast.force=true"]
    )
    assert (config.budget, config.fit.n_atoms, config.fit.n_resamples) == ("B0", 16, 20)
    assert config.transfer.ridges == (0.1, 1.0)
    assert config.forecast.force is True


def test_value_of_an_override_may_hold_an_equals_sign():
    assert load_run_config(None, ["prompts.path=a=b"]).prompts.path == "a=b"


@pytest.mark.parametrize("item", ["fit.n_atoms", "=3", "", "fit.n_atoms 3"])
def test_override_without_key_or_equals_sign_is_refused(item):
    with pytest.raises(ConfigError, match="not of the form key=value") as caught:
        load_run_config(None, [item])
    assert repr(item) in caught.value.what


def test_override_below_a_value_is_refused():
    with pytest.raises(ConfigError, match="budget is not a section"):
        load_run_config(None, ["budget=B0", "budget.x=1"])


@pytest.mark.parametrize("item", ["fit.n_atom=3", "fits.n_atoms=3", "fit.n_atoms=many"])
def test_override_with_an_unknown_key_or_a_wrong_value_is_refused(item):
    with pytest.raises(ConfigError) as caught:
        load_run_config(None, [item])
    assert item.split("=")[0].split(".")[0] in caught.value.what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget: B0\nseed: 1\nbudget: B1\n", r"'budget' is given twice[\s\S]*line 3"),
        ("fit:\n  n_atoms: 8\n  n_resamples: 20\n  n_atoms: 9\n", "'n_atoms' is given twice"),
        ("fit: {n_atoms: 8, 'n_atoms': 9}\n", "'n_atoms' is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(tmp_path, text, said):
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_yaml(path)
    assert str(path) in caught.value.what


def test_a_key_in_two_sections_or_over_a_merged_one_is_no_key_given_twice(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {x: 1}\n'1': s\n1: t\n"
    found = load_yaml(write(tmp_path / "c.yaml", text))
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 1}, "1": "s", 1: "t"}


def test_override_whose_value_is_no_yaml_is_refused():
    with pytest.raises(ConfigError, match="transfer"):
        load_run_config(None, ["transfer.ridges=[0.1, 1"])


# Round trip


def test_run_configuration_survives_yaml(tmp_path):
    config = parse({"seed": 4, "replay": {"mode": "add", "alpha": 2.0}, "guard": {"shares": [0.0]}})
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert load_run_config(write(tmp_path / "c.yaml", text)) == config
    assert load_run_config(write(tmp_path / "d.yaml", text), ["seed=5"]) != config


def test_model_configuration_survives_yaml(tmp_path):
    config = parse({"name": "n", "model": "m", "saes": {"release": RELEASE}}, ModelConfig)
    text = yaml.safe_dump(config.model_dump(mode="json", exclude_none=True))
    assert load_model_config(write(tmp_path / "c.yaml", text)) == config


def test_strength_is_found_for_mode_raise_only():
    for replay in (
        {"gamma": "auto"},
        {"mode": "raise"},
        {"mode": "raise", "gamma": 0.5},
        {"mode": "raise", "gamma": -0.5, "scope": "writers"},
        {"mode": "raise", "gamma": "often"},
    ):
        with pytest.raises(ConfigError):
            parse({"replay": replay})
    assert parse({"replay": {"mode": "raise", "gamma": "auto"}}).replay.gamma == "auto"
    assert parse({"replay": {"mode": "raise", "gamma": -0.5}}).replay.gamma == -0.5


@pytest.mark.parametrize(
    "given",
    [
        "fit={n_atoms: 4, n_atoms: 8}",
        "prompts.sets={direction_positive: {file: a, file: b}}",
        'prompts.texts=[{file: a, "file": b}]',
    ],
)
def test_a_key_given_twice_in_an_option_is_refused_as_in_a_file(given):
    with pytest.raises(ConfigError, match=r"--set .*'(n_atoms|file)' is given twice"):
        load_run_config(None, [given])


def test_a_key_of_two_options_is_that_of_the_last():
    assert load_run_config(None, ["fit={n_atoms: 4}", "fit.n_atoms=8"]).fit.n_atoms == 8
    with pytest.raises(ConfigError, match="the value is not YAML"):
        load_run_config(None, ["fit={n_atoms: 4"])
