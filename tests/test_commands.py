"""What `transfer` leaves behind when it succeeds, when it is declined, and when wandb fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conceptbasis import pipeline
from conceptbasis.cli import transfer as commands_transfer
from conceptbasis.cli.main import COMMANDS, build_parser, main
from conceptbasis.cli.train_saes import TRAIN_SAES
from conceptbasis.errors import CoverageError
from conceptbasis.results.summary import Verdict
from conceptbasis.runs.summary import write_summary

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


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["A", "B"], ("A", "B")),
        (["--donor", "A", "B"], ("A", "B")),
        (["B", "--donor", "A"], ("A", "B")),
        (["A", "--target", "B"], ("A", "B")),
        (["org/one", "organism:llama:0"], ("one", "organism-llama-0")),
        (["A"], None),
        (["A", "B", "C"], None),
        (["A", "B", "--donor", "C"], None),
    ],
)
def test_donor_and_target_are_named_in_order_or_by_option(
    given: list[str],
    names: tuple[str, str] | None,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[str] = []
    replaced = pipeline.run_pipeline

    def listening(donor: Any, target: Any, *more: Any, **options: Any) -> Any:
        seen.extend((donor.name, target.name))
        return replaced(donor, target, *more, **options)

    monkeypatch.setattr(pipeline, "run_pipeline", listening)
    for name in "ABC":
        (tmp_path / f"{name}.yaml").write_text("model: organism:llama:0\n")
    models = [str(tmp_path / f"{name}.yaml") if name in "ABC" else name for name in given]
    code = main(["transfer", *models, "--out", str(tmp_path / "run"), "--wandb", "off"])
    assert (code, tuple(seen)) == ((0, names) if names else (2, ()))
    if names is None:
        assert "expected: a donor and a target" in capsys.readouterr().err


def test_the_same_state_is_logged_once_and_a_new_one_again(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*arguments, "--wandb", "off"]) == 0
    assert len(logged(tmp_path)) == 0  # so the next one has something to log
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert len(logged(tmp_path)) == 1
    assert main([*arguments, "--set", "tracking.project=other"]) == 0
    assert len(logged(tmp_path)) == 2
    (tmp_path / "run/wandb/logged.json").write_text("{")
    assert main(arguments) == 0
    assert len(logged(tmp_path)) == 3


def test_mode_and_group_of_the_settings_make_no_other_log(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "OFFLINE")
    for more in ("tracking.mode=auto", "tracking.mode=offline", "tracking.group=g"):
        assert main([*arguments, "--set", more]) == 0
        assert len(logged(tmp_path)) == 1
    monkeypatch.delenv("WANDB_MODE")
    assert main([*arguments, "--wandb", "offline"]) == 0
    assert len(logged(tmp_path)) == 1
    assert main([*arguments, "--set", "tracking.entity=team"]) == 0  # the control
    assert len(logged(tmp_path)) == 2


@pytest.mark.parametrize("command", ["replay", "capability", "export"])
def test_a_device_that_is_not_there_is_said_and_the_model_is_not_blamed(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run")
    (tmp_path / "text.txt").write_text("salt\n")
    more = {"capability": ["--text", str(tmp_path / "text.txt")], "export": ["--steered", "x.pt"]}
    given = [command, str(folder), *more.get(command, [])]
    for device in ("cuda:7", "nonsense", "meta"):
        assert main([*given, "--device", device]) == 2
        assert f"device '{device}' cannot be used" in capsys.readouterr().err
    assert main([*given, "--device", "cpu"]) == 2  # the control: it goes on to the model
    assert "cannot be used" not in capsys.readouterr().err


def test_export_to_no_file_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run")
    for place in ("", ".", "/"):
        assert main(["export", str(folder), "--steered", place]) == 2
        assert "Is a directory" in capsys.readouterr().err


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


def test_a_rejected_transfer_has_a_report_and_is_logged(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def rejected(donor: Any, target: Any, config: Any, folder: Path, *_: Any, **__: Any) -> None:
        write_run(folder)
        (folder / "recipe.json").unlink()
        verdict = Verdict("rejected", "too little overlap")
        none = {"conditions": (), "primary_judge": None, "agreement_of_judges": ()}
        write_summary(folder, replace(make_summary(), verdict=verdict, **none))
        raise CoverageError("the forecast rejects", expected="more", fix="--force")

    monkeypatch.setattr(pipeline, "run_pipeline", rejected)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "the forecast rejects" in captured.err
    assert "wandb failed" not in captured.err
    assert "Rejected" in (tmp_path / "run" / "report.html").read_text()
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


def test_every_command_has_a_file_and_answers_for_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = (
        "demo transfer train-saes audit inspect intervene replay serve capability reproduce "
        "export compare circuits limits"
    )
    assert [name for name, _, _ in COMMANDS] == [*names.split(), "doctor", "report", "organisms"]
    for name, _, text in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        shown = capsys.readouterr().out
        assert text.split()[0] in shown
        assert "--quiet" in shown


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, conceptbasis.cli.main as m; m.build_parser([]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "numpy", "pydantic", "rich", "yaml", "wandb"}
    own = {name for name in loaded if name.startswith("conceptbasis.")}
    assert {name.split(".")[1] for name in own} <= {"cli", "errors"}


def test_a_demo_trains_what_is_missing_and_logs_it_beside_the_demo(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], env: Any) -> Any:
        started.append(command)
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(commands_transfer, "_is_cached", lambda m: m.model.startswith("organism:l"))
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr("conceptbasis.tracking.checkout.code_version", dict)  # which asks git
    out = tmp_path / "run"
    asked = ["demo", "--out", str(out), "--set", "tracking.project=lantern"]
    assert main([*asked, "--wandb", "offline"]) == 0
    (command,) = started  # of the target; the donor was there
    assert command[-1].endswith("target.yaml")
    options = build_parser(command[3:]).parse_args(command[3:])
    assert (options.run, options.wandb, options.logs) == (TRAIN_SAES.run, "offline", out)
    assert "tracking.project=lantern" in options.set
    assert any(entry.startswith("tracking.group=") for entry in options.set)
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
