"""What bad input gets: one clear error, said early, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from micro import MICRO_LLAMA, QUIET, SMALL, model_config, run_config
from steps import Steps

from conceptbasis import pipeline
from conceptbasis.config.base import parse_config
from conceptbasis.config.model import ModelConfig
from conceptbasis.data.prompts import Concept, Prompt, Text
from conceptbasis.data.suites import save_suite
from conceptbasis.edits import plan
from conceptbasis.edits.guard import perplexity
from conceptbasis.errors import (
    ConfigError,
    CoverageError,
    InterventionError,
    ModelError,
    NumericsError,
    OrganismError,
    PromptError,
    SaeError,
)
from conceptbasis.evaluation import evaluate
from conceptbasis.models.loading.creation import create_model, save_folder
from conceptbasis.models.loading.load import load_model
from conceptbasis.pipeline import run_pipeline
from conceptbasis.saes.build import load_or_train
from conceptbasis.saes.quality import OrdinaryTexts, measure_quality
from conceptbasis.saes.training import layer_folder
from conceptbasis.study.opening import open_model


def run(ready, tmp_path, donor=None, target=None, config=None):
    return run_pipeline(
        donor or ready.donor_config(),
        target or ready.target_config(),
        config or ready.config(),
        tmp_path / "run",
        QUIET,
        overwrite=True,
    )


def nothing_written(tmp_path) -> bool:
    return not [p for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"]


# Models


def copied(ready, tmp_path, name="model"):
    return shutil.copytree(ready.target, tmp_path / name)


def test_model_without_tokenizer(ready, tmp_path):
    folder = copied(ready, tmp_path)
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        run(ready, tmp_path, target=model_config("m", folder))
    assert nothing_written(tmp_path)


def test_model_without_chat_template(ready, tmp_path):
    folder = copied(ready, tmp_path)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text())
    values.pop("chat_template", None)
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="has no chat template") as caught:
        run(ready, tmp_path, target=model_config("m", folder))
    assert str(folder) in caught.value.what
    assert nothing_written(tmp_path)


def test_model_folder_that_is_not_there(ready, tmp_path):
    with pytest.raises(ModelError, match="none"):
        run(ready, tmp_path, target=model_config("m", tmp_path / "none"))
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("name", ["organism:llama", "organism:llama:x", "organism:llama:-1"])
def test_organism_without_a_seed(name):
    config = parse_config(ModelConfig, {"name": "m", "model": name}, "m.yaml")
    with pytest.raises(ConfigError, match="organism:llama") as caught:
        open_model(config, "cpu", QUIET)
    assert "organism:FAMILY:SEED" in caught.value.expected


def test_organism_of_an_unknown_family():
    config = parse_config(ModelConfig, {"name": "m", "model": "organism:gpt:0"}, "m.yaml")
    with pytest.raises(OrganismError, match="no organism family 'gpt'"):
        open_model(config, "cpu", QUIET)


@pytest.fixture(scope="module")
def untrained(ready, tmp_path_factory):
    """A model with the donor's tokenizer that was never trained, so it does not refuse."""
    folder = tmp_path_factory.mktemp("untrained") / "model"
    tokenizer = load_model(ready.donor).tokenizer
    model = create_model(MICRO_LLAMA.config_class, MICRO_LLAMA.sizes, tokenizer, seed=1)
    save_folder(model, tokenizer, folder)
    return folder


def as_side(side, folder):
    return replace(side, open_model=lambda: load_model(folder), model_hash="untrained")


def test_donor_that_does_not_refuse(make_study, sides, untrained):
    study = make_study(donor=as_side(sides.donor, untrained))
    with pytest.raises(ModelError, match=r"the donor .* refuses only 0%") as caught:
        _ = Steps(study).direction
    assert "at least 50%" in caught.value.expected
    assert not (study.folder / "direction" / "provenance.json").exists()
    assert Steps(make_study()).direction.baseline.value >= 0.5


def test_target_that_does_not_refuse(ready, finished, tmp_path, monkeypatch):
    shutil.copytree(finished.folder, tmp_path / "run")
    real = evaluate.require_behavior
    monkeypatch.setattr(
        evaluate, "require_behavior", lambda *a: real(*a[:2], ["what is a rose ?"] * 8)
    )
    with pytest.raises(ModelError, match=r"the target .* refuses only 0%"):
        run(ready, tmp_path, config=ready.config(evaluate=SMALL))
    assert not (tmp_path / "run" / "evaluate" / "provenance.json").exists()
    assert not (tmp_path / "run" / "summary.json").exists()


# SAEs


def from_folder(ready, folder, **more) -> ModelConfig:
    values = {"name": "m", "model": str(ready.target), "saes": {"folder": str(folder)}, **more}
    return parse_config(ModelConfig, values, "m.yaml")


@pytest.fixture
def saes(sides, tmp_path):
    """The target's SAEs in a folder of their own."""
    return shutil.copytree(sides.target.saes.folder, tmp_path / "saes")


def edit_cfg(folder, layer, change):
    path = folder / layer_folder(layer) / "cfg.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def load(ready, sides, config):
    return load_or_train(config, sides.target.loaded, "hash", ready.suite, QUIET)


def test_saes_of_a_folder_are_those_that_were_trained(ready, sides, saes):
    found = load(ready, sides, from_folder(ready, saes))
    assert found.hash == sides.target.saes.hash
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.saes[1].encode(x), sides.target.sae(1).encode(x))


def test_sae_of_another_width(ready, sides):
    with pytest.raises(SaeError, match="has d_in = 48") as caught:
        load(ready, sides, from_folder(ready, sides.donor.saes.folder))
    assert "d_model = 40" in caught.value.expected
    assert str(ready.target) in caught.value.expected


def test_sae_of_another_layer(ready, sides, saes):
    shutil.rmtree(saes / layer_folder(2))
    (saes / layer_folder(1)).rename(saes / layer_folder(2))
    with pytest.raises(SaeError, match="layer 1 resid_post") as caught:
        load(ready, sides, from_folder(ready, saes, layers=[2]))
    assert "layer 2 resid_post" in caught.value.expected


def test_sae_of_another_site(ready, sides, saes):
    def change(values):
        metadata = values.get("metadata", values)
        metadata["hook_name"] = "blocks.0.hook_mlp_out"

    edit_cfg(saes, 0, change)
    with pytest.raises(SaeError, match="mlp_out"):
        load(ready, sides, from_folder(ready, saes))


def test_missing_and_corrupt_saes(ready, sides, saes):
    (saes / layer_folder(0) / "sae_weights.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(SaeError, match="cannot be loaded"):
        load(ready, sides, from_folder(ready, saes))
    shutil.rmtree(saes / layer_folder(0))
    with pytest.raises(SaeError, match="no SAE folder"):
        load(ready, sides, from_folder(ready, saes))


@pytest.mark.parametrize("layers", [[3], [-1], [0, 7], []])
def test_layer_out_of_range(ready, tmp_path, layers):
    config = ready.target_config().model_copy(update={"layers": tuple(layers)})
    with pytest.raises(ConfigError, match="layers") as caught:
        run(ready, tmp_path, target=config)
    assert caught.value.expected == "layers 0 to 2"
    assert nothing_written(tmp_path)


def test_cfg_of_another_shape(ready, sides, saes):
    edit_cfg(saes, 0, lambda values: values.update(metadata=3))
    with pytest.raises(SaeError, match="cannot be loaded") as caught:
        load(ready, sides, from_folder(ready, saes))
    assert "cfg.json" in caught.value.expected


def test_less_text_than_one_batch_of_an_sae(ready, sides, tmp_path):
    few = replace(ready.suite, texts=ready.suite.texts[:20])
    with pytest.raises(ConfigError, match="fewer than one batch") as caught:
        load_or_train(
            ready.target_config(), sides.target.loaded, "hash", few, QUIET, out=tmp_path / "saes"
        )
    assert "saes.train.batch_size = 256" in caught.value.expected
    assert not (tmp_path / "saes" / "quality.json").exists()


def test_bad_target_costs_no_training(ready, tmp_path, monkeypatch):
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path / "cache"))
    (copied(ready, tmp_path) / "config.json").write_text("{")
    with pytest.raises(ModelError, match="could be loaded"):
        run(ready, tmp_path, target=model_config("m", tmp_path / "model"))
    assert not (tmp_path / "cache").exists()


def test_release_without_an_id_for_a_layer(ready, sides):
    saes = {"release": {"release": "r", "sae_ids": {0: "a"}}}
    values = {"name": "m", "model": str(ready.target), "saes": saes, "layers": [0, 2]}
    with pytest.raises(ConfigError, match=r"no SAE for layers \[2\]"):
        load(ready, sides, parse_config(ModelConfig, values, "m.yaml"))


def test_dead_sae(make_study):
    study = make_study(match={"max_dead_share": 0.01})
    with pytest.raises(SaeError, match="never fire on the shared text") as caught:
        _ = Steps(study).matches
    assert "at most 1%" in caught.value.expected
    assert not (study.folder / "match").exists()
    assert Steps(make_study(match={"max_dead_share": 0.9})).matches.layers


def test_sae_whose_codes_are_not_finite(ready, sides):
    class Spoilt:
        name, d_sae = "spoilt", 4

        def encode(self, x):
            return torch.full((len(x), 4), float("nan"))

    texts = ready.suite.texts_for("B0")[:4]
    with pytest.raises(SaeError, match=r"layer 1 \(spoilt\) gives codes that are not finite"):
        measure_quality(
            sides.target.loaded,
            {1: Spoilt()},
            texts,
            OrdinaryTexts({1: torch.ones(3, 40)}, {1: None}, 0.0),
        )


# Coverage


def test_no_eligible_atom(make_study):
    study = make_study(match={"r_min": 1.0})
    with pytest.raises((CoverageError, NumericsError)) as caught:
        _ = Steps(study).recipes
    assert "r_min" in caught.value.fix
    assert not (study.folder / "fit").exists()


# Prompts


def suite_with(ready, tmp_path, **sets):
    suite = replace(ready.suite, prompts={**ready.suite.prompts, **sets})
    save_suite(suite, tmp_path / "prompts")
    return run_config(tmp_path / "prompts")


def test_prompt_longer_than_the_context(ready, tmp_path):
    long = Prompt("what is " + "rose " * 90 + "?", "rose")
    negative = (*ready.suite["eval_harmless"], long)
    with pytest.raises(PromptError, match=r"prompt 41 of eval_harmless\.jsonl") as caught:
        run(ready, tmp_path, config=suite_with(ready, tmp_path, eval_harmless=negative))
    assert "[request: rose]" in caught.value.what
    assert "at most 84" in caught.value.expected
    assert not (tmp_path / "run" / "harvest").exists()


def test_concept_longer_than_the_context(ready, tmp_path):
    long = Concept("z", "B0", (Prompt("what is " + "rose " * 90),), (Prompt("what is a car ?"),))
    save_suite(replace(ready.suite, concepts=(long,)), tmp_path / "prompts")
    with pytest.raises(PromptError, match="prompt 1 of concept z"):
        run(ready, tmp_path, config=run_config(tmp_path / "prompts"))
    assert nothing_written(tmp_path)


def test_text_longer_than_the_context_is_left_out_before_any_work(ready, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(donor, target, suite, *rest):
        raise Stop(suite.texts)

    long = Text((("user", "what is " + "rose " * 90), ("assistant", "a rose .")), "chat")
    monkeypatch.setattr(pipeline, "both_with_saes", lambda *_: (SimpleNamespace(), None))
    monkeypatch.setattr(pipeline, "remember", lambda *_: None)
    monkeypatch.setattr(pipeline, "measure_overview", stop)
    for more in ((), (long,)):
        save_suite(replace(ready.suite, texts=(*ready.suite.texts, *more)), tmp_path / "prompts")
        with pytest.raises(Stop) as caught:
            run(ready, tmp_path, config=run_config(tmp_path / "prompts"))
        assert caught.value.args[0] == ready.suite.texts


@pytest.mark.parametrize("name", ["direction_harmful", "direction_harmless"])
def test_too_few_prompts_for_a_direction(ready, tmp_path, name):
    config = suite_with(ready, tmp_path, **{name: ready.suite[name][:9]})
    with pytest.raises(PromptError, match=f"'{name}' has 9 prompts") as caught:
        run(ready, tmp_path, config=config)
    assert "at least 10" in caught.value.expected
    assert not (tmp_path / "run").exists()


def test_answers_longer_than_the_context(ready, tmp_path):
    with pytest.raises(PromptError, match=r"evaluate\.max_new_tokens is 96"):
        run(ready, tmp_path, config=ready.config(evaluate={"max_new_tokens": 96}))


def test_empty_set(ready, tmp_path):
    with pytest.raises(PromptError, match="'eval_harmful' is empty"):
        run(ready, tmp_path, config=suite_with(ready, tmp_path, eval_harmful=()))
    assert not (tmp_path / "run").exists()


def test_overlapping_sets(ready, tmp_path):
    shared = (Prompt(ready.suite["direction_harmful"][0].text.upper()),)
    with pytest.raises(PromptError, match="1 prompts of eval_harmful also occur in"):
        run(ready, tmp_path, config=suite_with(ready, tmp_path, eval_harmful=shared))
    assert not (tmp_path / "run").exists()


# Numbers


def test_perplexity_that_is_not_finite(ready, sides):
    from conceptbasis.models.stream.hooks import splice

    texts = list(ready.suite.texts_for("B0")[:4])
    assert perplexity(sides.target.loaded, texts) > 1
    with (
        splice(sides.target.loaded, {2: lambda h: h * float("nan")}),
        pytest.raises(NumericsError),
    ):
        perplexity(sides.target.loaded, texts)


# Interventions


def test_replay_that_would_edit_nothing(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "edited_layers", lambda *a: [])
    with pytest.raises(InterventionError, match="is edited by this transfer"):
        run(ready, tmp_path)
    assert (tmp_path / "run" / "fit" / "provenance.json").exists()
    for name in ("transfer", "replay", "evaluate"):
        assert not (tmp_path / "run" / name).exists()
