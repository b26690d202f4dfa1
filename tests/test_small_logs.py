"""`audit`, `capability` and `limits` are logged too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "report"))
from offline_runs import OfflineRun, read_offline_run
from synthetic_run import write_run

from conceptbasis.cli.main import main
from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.errors import ModelError
from conceptbasis.report.model_tables import logged_audit
from conceptbasis.results.audit import Audit, Swept
from conceptbasis.results.capability import Capability, TaskFigure
from conceptbasis.results.direction import Selection
from conceptbasis.runs.files import CONFIG, write_text

MODELS = (
    "donor: {name: one, model: organism:llama:0}\ntarget: {name: two, model: organism:llama:1}\n"
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("API_KEY", "RUN_GROUP", "RUN_ID", "SWEEP_ID", "DATA_DIR", "CACHE_DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")


def logged(folder: Path) -> OfflineRun:
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    return read_offline_run(file)


def table_of(folder: Path, name: str) -> dict[str, Any]:
    (file,) = (folder / "wandb").glob(f"offline-run-*/files/media/table/{name}_[0-9]*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def made_up() -> Audit:
    def rate(value: float) -> Rate:
        return Rate(Interval(value, value - 0.1, value + 0.1, 20))

    names = {"untouched": 0.9, "ablate": 0.2, "add -1 sd": 0.5, "add +0.5 sd": 0.95}
    sweep = tuple(Swept(name, rate(value), rate(0.1)) for name, value in names.items())
    fields = dict.fromkeys(Selection.__dataclass_fields__)
    candidate = SimpleNamespace(layer=3, bypass=-1.0, induce=2.0, kl=0.01, reason=None)
    selection: Any = SimpleNamespace(**{**fields, "table": (candidate,), "layer": 3})
    return Audit("m", "refusal", Interval(0.9, 0.8, 1.0, 20), selection, (1.0,), 0.5, sweep)


@pytest.mark.parametrize("fails", [False, True])
def test_an_audit_is_logged(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def audit_model(*_: Any) -> Audit:
        if fails:
            raise ModelError("no direction", expected="one", fix="another")
        return made_up()

    for place, found in {
        "evaluation.audit.audit_model": audit_model,
        "study.opening.load_prompts": lambda *_: None,
        "study.answer_length.with_answer_length": lambda config, _: config,
        "study.answer_length.warn_of_short_answers": lambda *_: None,
        "study.opening.open_model": lambda *_: None,
        "study.checks.check_context": lambda *_: None,
    }.items():
        monkeypatch.setattr(f"conceptbasis.{place}", found)
    out = tmp_path / "a b"
    given = ["audit", "organism:llama:0", "--out", str(out)]
    assert main([*given, "--wandb", "off"]) == (2 if fails else 0)
    assert not (out / "wandb").exists()
    assert "upload" not in capsys.readouterr().err
    assert main(given) == (2 if fails else 0)
    run = logged(out)
    assert (run.job_type, run.group, run.name) == ("audit", "organism-llama-0", "a b")
    assert run.exit_code == (2 if fails else 0)
    assert run.config["model"]["model"] == "organism:llama:0"
    assert f"upload: wandb sync '{out}" in capsys.readouterr().err
    if fails:
        assert run.summary["error"] == "ModelError"
        return
    assert run.summary["audit/ablate/refusal"] == 0.2
    assert run.summary["audit/add_-1_sd/over_refusal"] == 0.1
    lines = {r["standard_deviations"]: r for r in run.history if "standard_deviations" in r}
    assert {place: row["sweep/refusal"] for place, row in lines.items()} == {
        0: 0.9,
        -1: 0.5,
        0.5: 0.95,
    }
    assert lines[-1]["sweep/refusal/low"] == pytest.approx(0.4)
    rows = table_of(out, "strength_sweep")["data"]
    assert ["ablate", "refusal", 0.2, 0.1, pytest.approx(0.3), 20] in rows
    assert len(table_of(out, "directions")["data"]) == 1


def test_the_log_of_saes_says_where_it_is_once_it_has_begun(tmp_path: Path) -> None:
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.config.run import TrackingSection
    from conceptbasis.tracking.saes import SaeLog

    model = ModelConfig(name="m", model="organism:llama:0")
    for begins in (False, True):
        with SaeLog(TrackingSection(), tmp_path, model, mode="offline", group="g") as log:
            if begins:
                log.begin()
        assert (log.where is not None) == begins
    assert log.where is not None
    assert f"wandb sync {tmp_path / 'wandb'}" in log.where
    assert logged(tmp_path).group == "g"


def test_an_edit_that_was_not_measured_is_left_out() -> None:
    audit = made_up()
    swept = Swept("ablate", Rate(None, 3), Rate(Interval(0.0, 0.0, 0.1, 9)))
    tables, figures = logged_audit(Audit(**{**vars(audit), "sweep": (swept,)}))
    assert len(tables["strength_sweep"].rows) == 1
    assert "audit/ablate/refusal" not in figures


def test_capability_is_logged_with_the_transfer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run")
    write_text(folder / CONFIG, MODELS + "run: {tracking: {project: lab}}\n")
    text = tmp_path / "text.txt"
    text.write_text("salt\n")
    result = Capability((TaskFigure("arc", "acc", 0.5, 0.25),), None, 0, {})
    monkeypatch.setattr("conceptbasis.cli.finished.open_finished", lambda _: (None, None))
    monkeypatch.setattr(
        "conceptbasis.evaluation.capability.measure_capability", lambda *_, **__: result
    )
    assert main(["capability", str(folder), "--text", str(text), "--tasks", "arc", "--quiet"]) == 0
    run = logged(folder)
    assert (run.job_type, run.group, run.project) == ("capability", "one-to-two", "lab")
    assert run.summary["capability/arc/acc/change"] == -0.25
    assert run.config["tasks"] == "arc"
    assert table_of(folder, "capability")["data"] == [["arc", "acc", 0.5, 0.25, -0.25]]


def test_limits_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("base", "atoms/4", "atoms/16"):
        write_text(
            write_run(tmp_path / place) / CONFIG, "run: {forecast: {min_eligible_mass: 0.3}}\n"
        )
    monkeypatch.setenv("WANDB_RUN_GROUP", "atoms")
    assert main(["limits", str(tmp_path), "--quiet"]) == 0
    run = logged(tmp_path)
    assert (run.job_type, run.group) == ("limits", "atoms")
    assert len(table_of(tmp_path, "limits")["data"]) == 3
    assert any("figures/limits-atoms/path" in row for row in run.history)
