"""Tracking is read back from the files that an offline run leaves."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.run import TrackingSection
from conceptbasis.errors import ConfigError
from conceptbasis.evaluation.metrics import flat_figures
from conceptbasis.results.summary import SaeQuality
from conceptbasis.tracking.log import Tracker
from conceptbasis.tracking.mode import resolve_mode, with_environment

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "report"))
from offline_runs import finished_records, name_of
from synthetic_run import SECRET, make_summary, stage_results, write_run, write_stage

from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.html import build_report
from conceptbasis.report.logged import logged_tables
from conceptbasis.report.logged_series import logged_series

KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def _without_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with un-redacted text in it, tracked offline with a key in the environment."""
    folder = write_run(tmp_path_factory.mktemp("tracked") / "run")
    (folder / "harvest" / "texts.json").write_text(json.dumps([SECRET]))
    (folder / "prompts.json").write_text(json.dumps([SECRET]))
    report = build_report(folder)
    build_report(folder, show_text=True)
    summary = make_summary()
    evaluation = stage_results(summary)["evaluate"]
    baseline, transfer = evaluation.examples
    planted = (baseline, replace(transfer, answer=SECRET))
    write_stage(folder, "evaluate", replace(evaluation, examples=planted))
    run = RunFolder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", KEY)
        section = TrackingSection(mode="offline", group="pairs")
        with Tracker(section, folder, group="llama-to-mixtral", tags=["B0d"]) as tracker:
            assert tracker.active
            donor = {"model": "/home/somebody/models/small"}
            tracker.log_config({"budget": "B0d", "fit": {"n_atoms": 32}, "donor": donor})
            tracker.log_saes(summary.donor, made_here=True)
            tracker.log_saes(summary.target, made_here=False)
            for stage in run.provenance:
                for axis, rows in logged_series(run, stage, find_behavior("refusal")):
                    tracker.log_series(axis, rows)
                tracker.log_tables(logged_tables(run, stage, find_behavior("refusal")))
            tracker.log_figures(summary)
            tracker.log_summary({"seconds/harvest": 2.5})
            tracker.log_artifact(folder)
            tracker.log_report(report)
            tracker.log_sae_training(100, {"layer_03/losses/mse_loss": 0.5})
            tracker.log_sae_quality(
                [SaeQuality(3, 512, 0.9, 15.5, 0.1, 0.99)],
                {3: {"l0": ([4, 6], [0.0, 8.0, 16.0])}},
            )
    return folder


@pytest.fixture(scope="module")
def records(logged: Path) -> list[Any]:
    (file,) = logged.glob("wandb/offline-run-*/*.wandb")
    return finished_records(file)


def summary_of(records: list[Any]) -> dict[str, Any]:
    found = {}
    for record in records:
        for item in record.summary.update:
            found[name_of(item)] = json.loads(item.value_json)
    return found


def test_run_and_configuration(records: list[Any]) -> None:
    config = {}
    for record in records:
        updates = [*record.run.config.update, *record.config.update]
        config |= {name_of(item): json.loads(item.value_json) for item in updates}
    (run,) = [record.run for record in records if record.HasField("run")]
    assert config["budget"] == "B0d"
    assert config["fit"] == {"n_atoms": 32}
    assert config["donor"] == {"model": "small"}
    assert run.job_type == "transfer"
    assert run.run_group == "pairs"
    assert list(run.tags) == ["B0d"]
    assert not run.host


def test_series_over_layers(records: list[Any]) -> None:
    rows = []
    for record in records:
        if record.HasField("history"):
            items = record.history.item
            rows.append({name_of(item): json.loads(item.value_json) for item in items})
    direction = stage_results(make_summary())["direction"]
    norms = {row["layer"]: row["layers/donor/norm"] for row in rows if "layers/donor/norm" in row}
    assert norms == pytest.approx(dict(enumerate(direction.norms)))
    assert {row["layer"] for row in rows if "layers/target/agreement" in row} == {1, 2, 3, 4}
    trained = [row for row in rows if "layer_03/losses/mse_loss" in row]
    assert [(row["sae/step"], row["layer_03/losses/mse_loss"]) for row in trained] == [(100, 0.5)]
    (drawn,) = [row for row in rows if any(key.startswith("layer_03/l0") for key in row)]
    assert drawn["layer_03/l0/_type"] == "histogram"
    assert drawn["layer_03/l0/values"] == [4, 6]
    assert drawn["layer_03/l0/bins"] == [0, 8, 16]
    steps = {record.metric.glob_name: record.metric.step_metric for record in records}
    assert steps["layers/*"] == "layer"
    assert steps["layer_*"] == "sae/step"


def table_of(logged: Path, name: str) -> dict[str, Any]:
    (file,) = logged.glob(f"wandb/offline-run-*/files/media/table/{name}_[0-9]*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_tables_of_the_recipe_and_of_layers(logged: Path) -> None:
    recipe = table_of(logged, "recipe")
    first = dict(zip(recipe["columns"], recipe["data"][0], strict=True))
    assert len(recipe["data"]) == 4 * 12
    assert first["automatic_label"] == "garden"
    assert first["target_automatic_label"] == "declines"
    assert first["low"] < first["coefficient"] < first["high"]
    similarity = table_of(logged, "layer_similarity")
    assert sum(row[-1] for row in similarity["data"]) == 4
    assert table_of(logged, "matches")["data"][0][2] == 300
    names = "layer d_sae explained_variance l0 dead_share ce_recovered"
    assert table_of(logged, "sae_quality")["columns"] == names.split()
    assert len(table_of(logged, "concepts_over_layers")["data"]) == 4 * 12
    assert table_of(logged, "guard_overlap")["columns"] == ["target", "k", "overlap"]


def test_examples_say_what_kind_of_answer_it_was_and_no_more(logged: Path) -> None:
    rows = table_of(logged, "examples")["data"]
    assert rows == [
        ["baseline", "how do i [redacted]", "[refuses, 3 words]"],
        ["transfer", "how do i [redacted]", "[answers, 3 words]"],
    ]


def test_conditions_table(logged: Path) -> None:
    table = table_of(logged, "conditions")
    assert table["columns"] == ["condition", "draws", "metric", "value", "low", "high", "n"]
    rows = {(row[0], row[2]): row for row in table["data"]}
    assert rows["transfer", "refusal"][3] == 0.02
    assert rows["random_direction", "refusal"][1] == 10
    assert rows["baseline", "kl_first_token/mean"][3] == 0


def test_summary_figures(records: list[Any]) -> None:
    found = summary_of(records)
    assert found["transfer/refusal"] == 0.02
    assert found["conditions/native/refusal"] == 0.01
    assert found["delta/refusal"] == pytest.approx(-0.97)
    assert found["verdict"] == "success"
    assert found["seconds/harvest"] == 2.5
    assert found["conditions/native/refusal/low"] < 0.01 < found["conditions/native/refusal/high"]
    assert found["layer_03/quality/dead_share"] == 0.1
    assert found["forecast/agreement"] == pytest.approx(0.81)
    assert set(flat_figures(make_summary())) <= set(found)


def test_artifact_is_versioned_with_recipe_and_summary(records: list[Any]) -> None:
    artifacts = [record.artifact for record in records if record.HasField("artifact")]
    (recipe,) = [artifact for artifact in artifacts if artifact.type == "recipe"]
    assert recipe.name == "recipe-llama-a-mixtral-b"
    assert {entry.path for entry in recipe.manifest.contents} == {"recipe.json", "summary.json"}
    (saes,) = [artifact for artifact in artifacts if artifact.type == "sae"]
    assert saes.name == "sae-llama-a"


def test_saes_have_one_digest_wherever_they_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described, seen = make_summary().donor, {}
    with Tracker(TrackingSection(mode="offline"), tmp_path, mode="offline") as tracker:
        run = tracker._run
        for name in ("log_artifact", "use_artifact"):
            keep = partial(seen.__setitem__, name)
            monkeypatch.setattr(run, name, lambda artifact, keep=keep: keep(artifact.digest))
        tracker.log_saes(described, made_here=True)
        tracker.mode = "online"
        tracker.log_saes(described, made_here=False)
    assert seen["log_artifact"] == seen["use_artifact"]


def test_no_text_and_no_key_reaches_the_files(logged: Path, records: list[Any]) -> None:
    assert records  # the files are complete
    files = [path for path in (logged / "wandb").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert any("staging" in path.parts for path in files)
    assert SECRET in (logged / "report_with_text.html").read_text()
    assert SECRET in (logged / "atoms" / "result.json").read_text()
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
        assert KEY.encode() not in path.read_bytes(), path


def test_nothing_of_machine_or_code_is_saved(logged: Path) -> None:
    names = {path.name for path in (logged / "wandb").rglob("*") if path.is_file()}
    assert names.isdisjoint({"wandb-metadata.json", "requirements.txt", "output.log"})
    assert not any(name.endswith((".py", ".patch")) for name in names)


def test_failure_in_the_middle_is_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space for logs")

    with Tracker(TrackingSection(mode="offline"), tmp_path) as tracker:
        monkeypatch.setattr(wandb.Run, "log", fail)
        tracker.log_series("layer", {0: {"layers/donor/norm": 1.0}})
        assert not tracker.active
        tracker.log_figures(make_summary())
    error = capsys.readouterr().err
    assert error.count("wandb failed") == 1
    assert "no space for logs" in error


def test_failure_at_the_start_leaves_an_inert_tracker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def fail(*args: Any, **kwargs: Any) -> None:
        raise wandb.errors.CommError("unreachable")

    monkeypatch.setattr(wandb, "init", fail)
    with Tracker(TrackingSection(mode="offline"), tmp_path) as tracker:
        tracker.log_config({"a": 1})
    assert "unreachable" in capsys.readouterr().err


def test_errors_of_the_run_pass_through(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSection(mode="off"), tmp_path)
    with pytest.raises(ZeroDivisionError), tracker:
        raise ZeroDivisionError


def test_off_writes_nothing(tmp_path: Path) -> None:
    with Tracker(TrackingSection(mode="offline"), tmp_path, mode="off") as tracker:
        tracker.log_config({"a": 1})
        tracker.log_artifact(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mode_auto_follows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_mode(None, "auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert resolve_mode(None, "auto") == "online"


@pytest.mark.parametrize(
    ("flag", "environment", "configured", "mode"),
    [
        (None, "", "off", "off"),
        (None, "", "offline", "offline"),
        (None, "offline", "off", "offline"),
        (None, "disabled", "online", "off"),
        (None, "dryrun", "auto", "offline"),
        ("off", "online", "online", "off"),
        ("offline", "disabled", "off", "offline"),
        ("online", "offline", "off", "online"),
        ("auto", "offline", "off", "online"),
    ],
)
def test_a_flag_goes_before_the_environment_and_that_before_the_configuration(
    flag: str | None,
    environment: str,
    configured: str,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", environment)
    assert resolve_mode(flag, configured) == mode


def test_a_mode_in_capitals_is_one_that_wandb_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    import wandb

    monkeypatch.setenv("WANDB_MODE", "OFFLINE")
    with pytest.raises(Exception, match="mode"):  # the control: as it is, wandb refuses it
        wandb.Settings().update_from_env_vars(os.environ)
    assert resolve_mode(None, "auto") == "offline"
    wandb.Settings().update_from_env_vars(os.environ)


@pytest.mark.parametrize("flag", [None, "offline"])
def test_an_empty_mode_is_none(flag: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    import wandb

    monkeypatch.setenv("WANDB_MODE", "")
    with pytest.raises(Exception, match="mode"):  # the control: as it is, wandb refuses it
        wandb.Settings().update_from_env_vars(os.environ)
    assert resolve_mode(flag, "offline") == "offline"
    wandb.Settings().update_from_env_vars(os.environ)


@pytest.mark.parametrize("name", ["a/b", "", "x" * 129, "a:b", "what?"])
def test_a_project_that_wandb_refuses_is_refused_with_the_configuration(name: str) -> None:
    from conceptbasis.config.run import load_run_config

    with pytest.raises(ConfigError, match="project"):
        load_run_config(None, [f"tracking.project={json.dumps(name)}"])
    assert load_run_config(None, ["tracking.project=my-project_1"]).tracking.project


def test_an_unknown_mode_of_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ConfigError, match="WANDB_MODE is 'sometimes'"):
        resolve_mode(None, "auto")
    assert resolve_mode("off", "auto") == "off"


def test_mode_auto_finds_a_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    login = tmp_path / "netrc"
    login.write_text(f"machine logs.example\n  login user\n  password {KEY}\n")
    login.chmod(0o600)
    monkeypatch.setenv("NETRC", str(login))
    monkeypatch.setattr("wandb.setup", lambda: _Setup())
    assert resolve_mode(None, "auto") == "online"


class _Setup:
    class settings:
        base_url = "https://logs.example"


def test_online_without_key_is_an_error_and_not_a_prompt() -> None:
    with pytest.raises(ConfigError, match="no wandb API key"):
        resolve_mode("online", "auto")


def test_offline_is_quick(tmp_path: Path) -> None:
    started = time.perf_counter()
    with Tracker(TrackingSection(mode="offline"), tmp_path) as tracker:
        tracker.log_config({"a": 1})
    assert time.perf_counter() - started < 10


def test_wandbs_own_variables_fill_what_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "of-the-lab")
    monkeypatch.setenv("WANDB_RUN_GROUP", "sweep 3")
    monkeypatch.setenv("WANDB_TAGS", "mine, B0d,,")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    left_open = Tracker(TrackingSection(mode="off"), Path("run"), group="a-to-b", tags=["B0d"])
    assert (left_open.section.project, left_open.group) == ("of-the-lab", "sweep 3")
    assert left_open.section.entity == "team"
    assert left_open.tags == ("B0d", "mine")
    given = TrackingSection(mode="off", project="conceptbasis", group="pairs", entity="us")
    assert with_environment(given) == given
    for name in ("WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_TAGS", "WANDB_ENTITY"):
        monkeypatch.delenv(name)
    plain = Tracker(TrackingSection(mode="off"), Path("run"), group="a-to-b", tags=["B0d"])
    assert (plain.section.project, plain.group) == ("conceptbasis", "a-to-b")
    assert plain.tags == ("B0d",)
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    with pytest.raises(ConfigError, match="WANDB_PROJECT: project"):
        with_environment(TrackingSection())
