"""What `transfer` leaves behind when it succeeds, when it is declined, and when wandb fails."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conceptbasis.cli import commands
from conceptbasis.cli import transfer as commands_transfer
from conceptbasis.cli.main import build_parser, main
from conceptbasis.errors import CoverageError
from conceptbasis.stages import pipeline

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "report"))
from offline_runs import read_offline_run
from synthetic_run import make_summary, write_run


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line whose pipeline is replaced by a finished run in its folder."""

    def finished(donor: Any, target: Any, config: Any, folder: Path, *_: Any, **__: Any) -> Any:
        write_run(folder)
        return SimpleNamespace(summary=make_summary(), folder=folder, seconds={})

    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(pipeline, "run_pipeline", finished)
    model = tmp_path / "model.yaml"
    model.write_text("model: organism:llama:0\n")
    files = ["--donor", str(model), "--target", str(model), "--out", str(tmp_path / "run")]
    return ["transfer", *files]


def logged(folder: Path) -> list[Path]:
    return list(folder.glob("run/wandb/offline-run-*/*.wandb"))


def test_a_transfer_prints_logs_and_names_what_is_next(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "success: refusal fell" in captured.out
    assert (tmp_path / "run" / "report.html").exists()
    assert len(logged(tmp_path)) == 1
    assert captured.err.count("next: conceptbasis") == 2


def test_off_logs_nothing(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--wandb", "off"]) == 0
    assert not (tmp_path / "run" / "wandb").exists()


def test_online_without_a_key_is_said_before_the_work(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pipeline, "run_pipeline", None)
    assert main([*arguments, "--wandb", "online"]) == 2
    assert "no wandb API key" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_declined_transfer_has_a_report_and_is_logged(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def declined(donor: Any, target: Any, config: Any, folder: Path, *_: Any, **__: Any) -> None:
        write_run(folder)
        (folder / "recipe.json").unlink()
        summary = make_summary()
        verdict = {"word": "declined", "reason": "too little overlap"}
        summary |= {"conditions": [], "verdict": verdict, "primary_judge": None}
        (folder / "summary.json").write_text(json.dumps(summary))
        raise CoverageError("the forecast declines", expected="more", fix="--force")

    monkeypatch.setattr(pipeline, "run_pipeline", declined)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "the forecast declines" in captured.err
    assert "wandb failed" not in captured.err
    assert "Declined" in (tmp_path / "run" / "report.html").read_text()
    assert len(logged(tmp_path)) == 1


def test_a_failure_of_wandb_costs_no_result(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import wandb

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise OSError("no space for logs")

    monkeypatch.setattr(wandb.Run, "log", fail)
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err.count("wandb failed") == 1
    assert "success: refusal fell" in captured.out
    assert (tmp_path / "run" / "report.html").exists()


def test_every_command_of_the_parser_exists() -> None:
    from conceptbasis.cli import reading as commands_reading

    modules = (commands, commands_reading, commands_transfer)
    found = {name for m in modules for name in dir(m) if "run_" in name[:4]}
    names = "demo transfer train_saes audit inspect replay compare doctor report organisms"
    assert {f"run_{name}" for name in names.split()} <= found


def test_a_demo_trains_what_is_missing_and_logs_it_beside_the_demo(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], env: Any) -> Any:
        started.append(command)
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(commands_transfer, "_is_cached", lambda m: m.model.startswith("organism:l"))
    monkeypatch.setattr(commands_transfer.subprocess, "Popen", start)
    out = tmp_path / "run"
    asked = ["demo", "--out", str(out), "--set", "tracking.project=lantern"]
    assert main([*asked, "--wandb", "offline"]) == 0
    (command,) = started  # of the target; the donor was there
    assert command[-1].endswith("target.yaml")
    options = build_parser().parse_args(command[3:])
    assert (options.command, options.wandb, options.logs) == ("train_saes", "offline", out)
    assert "tracking.project=lantern" in options.set
    started.clear()
    assert main([*asked, "--wandb", "off"]) == 0
    assert "--wandb off" in " ".join(started[0])


def test_saes_that_a_transfer_trains_are_logged_beside_it(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trains(donor: Any, target: Any, config: Any, folder: Path, *_: Any, **more: Any) -> Any:
        with more["open_sae_log"](donor) as log:
            log.log_step(1, {"layer_00/losses/overall_loss": 1.0})
        with more["open_sae_log"](target):
            pass  # reused
        write_run(folder)
        return SimpleNamespace(summary=make_summary(), folder=folder, seconds={})

    monkeypatch.setattr(pipeline, "run_pipeline", trains)
    assert main(arguments) == 0
    kinds = [read_offline_run(path).job_type for path in logged(tmp_path)]
    assert sorted(kinds) == ["train_sae", "transfer"]
    shutil.rmtree(tmp_path / "run")
    assert main([*arguments, "--wandb", "off"]) == 0
    assert logged(tmp_path) == []
