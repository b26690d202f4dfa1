"""Results in pipes, on full devices, on terminals of few signs, and files in forbidden places."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conceptbasis.cli.command import say_next
from conceptbasis.cli.export import model_args
from conceptbasis.cli.main import main

sys.path.insert(0, str(Path(__file__).parent / "report"))
from synthetic_run import write_run

COMMANDS = (["inspect", "RUN"], ["inspect", "RUN", "--json"], ["compare", "RUN", "--overview"])
COMMANDS += (["compare", "RUN"], ["--help"], ["inspect", "--help"])
WITH_SHORT = (*COMMANDS, ["--version"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "my run"
    write_run(run)
    return run


def started(folder, command, *, unbuffered="", env=None, **more):
    more["env"] = {**os.environ, "PYTHONUNBUFFERED": unbuffered, **(env or {})}
    words = [str(folder) if word == "RUN" else word for word in command]
    line = [sys.executable, "-m", "conceptbasis", *words]
    return subprocess.Popen(line, stderr=subprocess.PIPE, **more)


def said(process):
    error = process.stderr.read().decode()
    process.stderr.close()
    process.wait()
    assert "Traceback" not in error
    assert "Exception ignored" not in error
    return error


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", WITH_SHORT)
def test_a_reader_that_has_enough_ends_a_command_quietly(folder, command, unbuffered):
    read, write = os.pipe()
    os.close(read)
    process = started(folder, command, stdout=write, unbuffered=unbuffered)
    os.close(write)
    assert said(process) == ""
    assert process.returncode == 141


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", WITH_SHORT)
def test_a_full_device_is_named(folder, command, unbuffered):
    with open("/dev/full", "w") as full:
        process = started(folder, command, stdout=full, unbuffered=unbuffered)
        assert "error: the output cannot be written: No space left" in said(process)
    assert process.returncode == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["inspect", "RUN"], 0),
        (["--help"], 0),
        (["inspect", "nothing"], 2),
        (["inspect"], 2),
        (["no-such-command"], 2),
    ],
)
def test_a_full_device_for_messages_changes_no_code_and_no_results(
    folder, command, code, unbuffered
):
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    line = [sys.executable, "-m", "conceptbasis"]
    line += [str(folder) if word == "RUN" else word for word in command]
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=full, env=env)
        assert done.returncode == code
        plain = subprocess.run(line, capture_output=True, env=env)
        assert (done.stdout, code) == (plain.stdout, plain.returncode)
        both = subprocess.run(line, stdout=full, stderr=full, env=env)
        assert both.returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_terminals_without_our_signs_show_others(folder, command, encoding):
    environment = {"PYTHONIOENCODING": encoding}
    process = started(folder, command, stdout=subprocess.PIPE, env=environment)
    out = process.communicate()[0].decode(encoding)
    assert process.returncode == 0
    if encoding == "utf-8" and command == ["inspect", "RUN"]:
        assert "→" in out or "Σ" in out or "–" in out  # the control: there are such signs
    assert len(out) > 100


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams_are_no_error(folder, closed):
    line = shlex.join([sys.executable, "-m", "conceptbasis", "inspect", str(folder)])
    done = subprocess.run(f"{line} {closed}>&-", shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_other_errors_of_the_system_are_not_hidden(monkeypatch, folder):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied", "some file")

    monkeypatch.setattr("conceptbasis.runs.files.check_run_folder", fail)
    with pytest.raises(PermissionError, match="some file"):
        main(["inspect", str(folder)])


# Files


def places(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.pt").mkdir()
    return tmp_path / "file" / "a.pt", tmp_path / "folder.pt"


def test_exports_to_forbidden_places_are_refused_before_the_model_is_opened(
    tmp_path, capsys, folder
):
    for place in places(tmp_path):
        before = sorted(tmp_path.rglob("*"))
        assert main(["export", str(folder), "--steered", str(place)]) == 2
        assert f"cannot write {place}: " in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before


def test_steered_files_are_whole_or_absent(tmp_path, file_limit):
    from conceptbasis.errors import ArtifactError
    from conceptbasis.models.harness import save_steered

    entries = {"layers.1": {"steering_vector": torch.ones(1, 100_000)}}
    for place in places(tmp_path):
        with pytest.raises(ArtifactError, match="cannot write"):
            save_steered(place, entries)
    save_steered(tmp_path / "new" / "a.pt", {"layers.1": {"steering_vector": torch.ones(1, 3)}})
    with file_limit(20_000), pytest.raises(ArtifactError, match=r"while writing|cannot write"):
        save_steered(tmp_path / "new" / "a.pt", entries)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.pt"]
    kept = torch.load(tmp_path / "new" / "a.pt", weights_only=True)
    assert kept["layers.1"]["steering_vector"].shape == (1, 3)
    save_steered(tmp_path / "new" / "a.pt", entries)


def test_printed_commands_survive_a_shell(capsys):
    options = argparse.Namespace(quiet=False)
    say_next(options, "what it is for", "inspect", Path("runs/my run, first"), "--layer", 3)
    line = capsys.readouterr().err
    words = shlex.split(line.removeprefix("next: ").partition("   ")[0])
    assert words == ["conceptbasis", "inspect", "runs/my run, first", "--layer", "3"]
    say_next(options, "what it is for", "inspect", Path("runs/demo"))
    assert capsys.readouterr().err == "next: conceptbasis inspect runs/demo   what it is for\n"


def test_arguments_of_the_harness_may_hold_commas():
    import json

    plain = {"pretrained": "my model", "steer_path": "a=b.pt"}
    assert model_args(plain) == "pretrained=my model,steer_path=a=b.pt"
    odd = {"pretrained": "a,b", "steer_path": "c.pt"}
    assert json.loads(model_args(odd)) == odd
