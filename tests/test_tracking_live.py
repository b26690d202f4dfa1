"""A transfer is logged while it runs; what stops it is marked, and it goes on as the same run."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from offline_runs import OfflineRun, read_offline_run
from staged_run import STAGES, staged, stub_report
from synthetic_run import SECRET
from wandb_server import KEY, Server, environment, serving

from conceptbasis import pipeline
from conceptbasis.behaviors import find_behavior
from conceptbasis.cli.main import main
from conceptbasis.errors import ModelError
from conceptbasis.evaluation.figures import condition_figures
from conceptbasis.evaluation.measure import Kept, Outcome
from conceptbasis.runs.files import write_json
from conceptbasis.runs.storage import to_json
from conceptbasis.tracking import patience
from conceptbasis.tracking.own_run import OwnRun, read_own_run, write_own_run
from conceptbasis.tracking.so_far import SoFar

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("API_KEY", "MODE", "RUN_ID", "SWEEP_ID", "PROJECT", "ENTITY", "TAGS", "NOTES")
    for name in (*names, "RUN_GROUP", "DATA_DIR", "CACHE_DIR", "BASE_URL"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `transfer` into a folder with a space in its name; keywords go to the stages."""
    model = tmp_path / "model.yaml"
    model.write_text("model: organism:llama:0\n")

    def run(*more: str, during: Callable[[str], None] | None = None) -> int:
        monkeypatch.setattr(pipeline, "run_pipeline", staged(during) if during else staged())
        out = str(tmp_path / "my run")
        return main(["transfer", str(model), str(model), "--out", out, *more])

    return run


def logged(tmp_path: Path) -> list[OfflineRun]:
    """All offline runs of the folder, the one that ended first first.

    Names do not give the order: within one second they differ in a random id alone.
    """
    found = (tmp_path / "my run" / "wandb").glob("offline-run-*/*.wandb")
    in_order = sorted(found, key=lambda path: path.stat().st_mtime_ns)
    return [read_offline_run(path) for path in in_order]


def failing(stage: str, error: BaseException) -> Callable[[str], None]:
    def during(name: str) -> None:
        if name == stage:
            raise error

    return during


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ModelError("too small\nmore", expected="a", fix="b"), 2, "ModelError: too small"),
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"),
        (
            RuntimeError(f"cannot read '{SECRET}' in /home/somebody/secret/file.txt with {KEY}"),
            1,
            "RuntimeError: cannot read '[…]' in file.txt with […]",
        ),
    ],
)
def test_a_transfer_that_stops_leaves_a_marked_run(
    error: BaseException,
    code: int,
    says: str,
    transfer: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            transfer(during=failing("guard", error))
    else:
        assert transfer(during=failing("guard", error)) == code
    (run,) = logged(tmp_path)
    assert run.exit_code == code
    assert (run.summary["stage"], run.summary["error"]) == ("guard", says)
    assert run.summary["seconds/transfer"] == 1.5  # the stage before it is logged
    assert "seconds/guard" not in run.summary
    assert "about" not in run.config  # `compare` shows finished ones only
    assert run.config["code"]["version"]
    assert run.config["device"] == "cpu"
    assert any("layers/target/agreement" in row for row in run.history)
    everything = [p.read_bytes() for p in (tmp_path / "my run/wandb").rglob("*") if p.is_file()]
    for kept in (SECRET, "somebody", KEY):
        assert not any(kept.encode() in data for data in everything)
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if "upload: " in line]
    command = shlex.split(line.partition("upload: ")[2])
    assert command[:2] == ["wandb", "sync"]
    assert [path for path in command[2:] if Path(path).is_dir()] == command[2:]


def test_a_transfer_that_goes_on_is_the_same_run_and_a_finished_one_is_left_alone(
    transfer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transfer(during=failing("atoms", ModelError("no", expected="a", fix="b"))) == 2
    capsys.readouterr()
    assert transfer() == 0
    line = next(li for li in capsys.readouterr().err.splitlines() if "upload: " in li)
    first, second = logged(tmp_path)
    assert first.id == second.id
    assert (first.exit_code, second.exit_code) == (2, 0)
    assert (second.summary["stage"], second.summary["error"]) == ("finished", None)
    assert second.summary["verdict"] == "success"
    assert "success" in second.tags
    assert not {f"seconds/{name}" for name in STAGES[:9]} & second.summary.keys()  # logged before
    assert second.history[0]["_step"] > first.history[-1]["_step"]
    for name in ("rate", "curve"):
        image = next(row for row in second.history if f"figures/{name}/path" in row)
        assert image[f"figures/{name}/width"] > 300
        assert image[f"figures/{name}/size"] < 200_000
    assert transfer() == 0
    assert len(logged(tmp_path)) == 2
    with serving(Server()) as server:  # what the printed command uploads is one run of all steps
        command = shlex.split(line.partition("upload: ")[2])
        bin_folder = Path(sys.executable).parent
        words = [bin_folder / command[0], *command[1:]]
        assert subprocess.run(words, env=environment(server)).returncode == 0
        (run,) = server.runs.values()
    assert (run.name, run.exit_code) == (first.id, 0)
    steps = [row["_step"] for _, row in sorted(run.history.items())]
    assert steps == sorted(set(steps))
    assert len(steps) == len(first.history) + len(second.history)


def test_other_settings_in_the_folder_of_a_stopped_run_are_another_run(
    transfer: Callable[..., int], tmp_path: Path
) -> None:
    assert transfer(during=failing("opening", ModelError("no", expected="a", fix="b"))) == 2
    assert transfer("--set", "fit.n_atoms=8", during=failing("fit", KeyboardInterrupt())) == 130
    first, second = logged(tmp_path)
    assert first.summary["stage"] == "opening"
    assert first.id != second.id
    assert "error" in second.summary


def test_the_environment_of_wandb_counts(
    transfer: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"PROJECT": "lab", "ENTITY": "team", "TAGS": "mine,b", "RUN_GROUP": "g", "NOTES": "why"}
    for name, value in {**given, "RUN_ID": "chosen1"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setattr("conceptbasis.report.html.build_report", stub_report)
    assert transfer() == 0
    (run,) = logged(tmp_path)
    assert (run.project, run.entity, run.group, run.notes) == ("lab", "team", "g", "why")
    assert run.id == "chosen1"
    assert {"mine", "b", "B0d"} <= set(run.tags)


SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from staged_run import staged, stub_report
from conceptbasis import pipeline
from conceptbasis.report import html
from conceptbasis.cli.main import main
from conceptbasis.tracking import patience

what, model, out = sys.argv[2:5]

def wait(name):
    if name == "guard":
        print("ready", flush=True)
        time.sleep(60)

def hurt(signal_name):
    def during(name):
        import wandb
        if name == "guard":
            os.kill(wandb.setup()._connection._proc._process.pid, getattr(signal, signal_name))
    return during

html.build_report = stub_report
if what == "hurt":
    pipeline.run_pipeline = staged(hurt("SIGKILL"))
    print("SIGKILL", main(["transfer", model, model, "--out", out + "1"]), flush=True)
    import wandb
    # Small records fit into the socket; this is what a run of hours has logged.
    real, patience._OTHERS = wandb.Run.log, 2.0
    wandb.Run.log = lambda run, data, **more: real(run, {**data, "x": "y" * 400_000}, **more)
    pipeline.run_pipeline = staged(hurt("SIGSTOP"))
    print("SIGSTOP", main(["transfer", model, model, "--out", out + "2"]), flush=True)
    raise SystemExit(0)
pipeline.run_pipeline = staged(wait)
raise SystemExit(main(["transfer", model, model, "--out", out]))
"""


def start(what: str, tmp_path: Path) -> subprocess.Popen[str]:
    model = tmp_path / "model.yaml"
    model.write_text("model: organism:llama:0\n")
    command = [sys.executable, "-c", SCRIPT, str(HERE), what, str(model), str(tmp_path / "my run")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    more = {"text": True, "start_new_session": True, "env": environment()}
    return subprocess.Popen(command, **pipes, **more)


def test_sigterm_leaves_a_marked_run(tmp_path: Path) -> None:
    with start("wait", tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "terminated; the same command goes on where it stopped" in said
    (run,) = logged(tmp_path)
    assert run.exit_code == process.returncode
    assert (run.summary["stage"], run.summary["error"]) == ("guard", "Terminated")


def test_a_service_that_dies_or_hangs_costs_a_message(tmp_path: Path) -> None:
    with start("hurt", tmp_path) as process:
        shown, said = process.communicate()
    assert process.returncode == 0, said
    assert "SIGKILL 0" in shown
    assert "SIGSTOP 0" in shown
    assert shown.count("success: refusal fell") == 2
    assert said.count("wandb failed") == 2  # the second transfer had a service of its own
    assert "no answer within 2 s" in said
    assert "Traceback" not in said


def test_a_call_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_OTHERS", 0.1)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        patience.call_within("log", lambda: time.sleep(30))
    assert time.monotonic() - started < 5
    patience.call_within("log", lambda: None)  # the control
    with pytest.raises(ZeroDivisionError):
        patience.call_within("log", lambda: 1 / 0)


# Conditions as they are measured


def outcome(shown: bool) -> Outcome:
    return Outcome(
        verdicts={"positive": (shown, True)},
        judges={"phrases": (shown, True)},
        kinds=("refusal",),
        correct={"positive": (not shown, False)},
        kl=(0.1, 0.2),
        answer_kl=(0.1, 0.2),
        nll=(3.0, 3),
        edited={"stream": (1, 1)},
        answers=(SECRET,),
    )


def test_conditions_are_read_as_they_come_and_old_ones_are_not(tmp_path: Path) -> None:
    def keep(name: str, found: Outcome) -> None:
        write_json(tmp_path / f"{name}.json", to_json(Kept("key", found)))

    behavior = find_behavior("refusal")
    keep("native_00", outcome(True))  # of an earlier run, perhaps with other settings
    so_far = SoFar(tmp_path, behavior)
    assert so_far.read_new() == {}
    keep("random_direction_00", outcome(True))
    first = so_far.read_new()
    assert list(first) == ["random_direction"]
    assert first["random_direction"]["refusal"].value == 1.0
    keep("random_direction_01", outcome(False))
    pooled = so_far.read_new()["random_direction"]["refusal"]
    whole = condition_figures([outcome(True), outcome(False)], behavior)
    assert pooled == whole.rate.interval
    assert pooled.value == 0.75
    assert so_far.read_new() == {}


def test_conditions_are_logged_before_the_stage_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conceptbasis.cli.logs.transfer import TransferLog
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.config.run import RunConfig
    from conceptbasis.runs.progress import Reporter

    model = ModelConfig(name="m", model="organism:llama:0")
    folder = tmp_path / "my run"
    log = TransferLog(folder, (model, model, RunConfig()), "offline", quiet=True)
    before = OwnRun("earlier1", log._key, step=7, stages=("fit", "evaluate"))
    write_own_run(folder, before)

    def measure() -> None:
        log.on_begin(folder)
        log.on_stage("evaluate", reused=False)
        with Reporter(quiet=True).heard_by(log).bar("evaluate") as advance:
            place = folder / "evaluate/conditions/native_00.json"
            write_json(place, to_json(Kept("key", outcome(False))))
            advance(1, 40, "native")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), log:
        measure()
    (run,) = logged(tmp_path)
    assert run.summary["conditions/native/refusal"] == 0.5
    assert run.history[-1]["progress/measured"] == 1
    assert (run.id, run.history[0]["_step"]) == ("earlier1", 8)
    known = read_own_run(folder)
    assert known is not None
    assert known.stages == ("fit",)  # the other one is computed again, so it is logged again
    text = next((folder / "wandb").rglob("*.wandb")).read_bytes()
    assert SECRET.encode() not in text


def test_runs_that_did_not_finish_are_not_compared(tmp_path: Path) -> None:
    from conceptbasis.errors import ArtifactError
    from conceptbasis.evaluation.metrics import About
    from conceptbasis.runs.storage import from_json

    with pytest.raises(ArtifactError):  # what makes `read_logged_runs` leave them out
        from_json(About, None, tmp_path)
