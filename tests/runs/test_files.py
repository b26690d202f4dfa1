"""Files of a run: written atomically, hashed, locked; damaged ones are named."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from conceptbasis.errors import ArtifactError
from conceptbasis.runs import files


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


# Corruption


@pytest.mark.parametrize("data", [b"", b"\x08", b"\xff" * 64])
def test_bad_tensors_are_an_error_that_names_the_file(tmp_path, data):
    path = tmp_path / "t.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"t\.safetensors is corrupt"):
        files.load_tensors(path)


def test_truncated_tensors_are_an_error(tmp_path):
    path = tmp_path / "t.safetensors"
    files.save_tensors(path, {"x": torch.randn(100, 10)})
    assert files.load_tensors(path)["x"].shape == (100, 10)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=r"t\.safetensors is corrupt"):
        files.load_tensors(path)


def test_missing_files_are_errors_that_name_them(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.json is missing"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(ArtifactError, match=r"none\.safetensors is missing"):
        files.load_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("text", ["[]", "3", '{"a": 1}'])
def test_json_without_what_it_must_hold_is_an_error(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"r\.json is corrupt .* does not hold b"):
        files.read_json(path, ("b",))
    path.write_text('{"a": 1, "b": 2}')
    assert files.read_json(path, ("b",)) == {"a": 1, "b": 2}


def test_nobody_is_told_to_delete_a_whole_run(tmp_path):
    run, stage = tmp_path / "run", tmp_path / "run" / "fit"
    stage.mkdir(parents=True)
    (run / files.CONFIG).touch()
    assert str(stage) in files.corrupt(stage / "result.json", "x").fix
    assert "delete" not in files.corrupt(run / "summary.json", "x").fix


def test_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not a run folder .* holds no config"):
        files.check_run_folder(tmp_path)
    with pytest.raises(ArtifactError, match="no such folder"):
        files.check_run_folder(tmp_path / "none")
    file = tmp_path / files.CONFIG
    file.touch()
    files.check_run_folder(tmp_path)
    with pytest.raises(ArtifactError, match="is not a run folder"):
        files.check_run_folder(file)


# Writing


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),  # as tokenizers has it
    ],
)
def test_full_disk_under_another_library(tmp_path, error):
    with pytest.raises(ArtifactError, match="the disk is full"), files.writing(tmp_path):
        raise error


def test_other_errors_of_another_library_are_left_alone(tmp_path):
    with pytest.raises(SafetensorError, match="shape"), files.writing(tmp_path):
        raise SafetensorError("shape")
    said = ArtifactError("no file (os error 28)", expected="x", fix="y")
    with pytest.raises(ArtifactError, match="no file"), files.writing(tmp_path):
        raise said
    with pytest.raises(AttributeError, match=r"pickle|local"):
        files.save_torch(tmp_path / "a", lambda: None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_json_holds_no_number_that_is_not_finite(tmp_path, value):
    with pytest.raises(ArtifactError, match="not finite"):
        files.write_json(tmp_path / "r.json", {"x": value})
    assert names(tmp_path) == []
    files.write_json(tmp_path / "r.json", {"x": None, "y": 1e300})
    assert json.loads((tmp_path / "r.json").read_text()) == {"x": None, "y": 1e300}


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_is_an_error_and_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / "r.json"
    files.write_json(path, {"old": True})
    target = files.os if step == "fsync" else Path
    monkeypatch.setattr(target, step, full_disk)
    with pytest.raises(ArtifactError, match="the disk is full") as caught:
        files.write_json(path, {"old": False})
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert "reused" in caught.value.fix
    assert files.read_json(path) == {"old": True}
    assert names(tmp_path) == ["r.json"]


def test_full_disk_when_the_temporary_file_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", full_disk)
    with pytest.raises(ArtifactError, match="the disk is full"):
        files.save_tensors(tmp_path / "t.safetensors", {"x": torch.ones(3)})
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_folder_without_permission_is_an_error(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(ArtifactError, match=r"cannot write .*Permission denied"):
        files.write_text(tmp_path / "a" / "b.txt", "x")


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    files.write_json(path, {"old": True})

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_json(path, {"old": False})
    monkeypatch.undo()
    assert files.read_json(path) == {"old": True}


class Checkpointed:
    """A trainer as far as a checkpoint sees it."""

    n_training_samples = 0
    n_frac_active_samples = 0
    act_freq_scores = torch.zeros(3)
    n_forward_passes_since_fired = torch.zeros(3)
    sae = torch.nn.Linear(200, 200)
    optimizer = torch.optim.Adam(sae.parameters())


def save_checkpoint(path):
    from conceptbasis.saes.checkpoint import save_training_state

    save_training_state(path.parent, {0: Checkpointed()}, step=1, identity={})
    (path.parent / "training.safetensors").replace(path)


WRITERS = {
    "bytes": lambda path: files.write_bytes(path, b"x" * 100_000),
    "json": lambda path: files.write_json(path, list(range(50_000))),
    "tensors": lambda path: files.save_tensors(path, {"x": torch.ones(100_000)}),
    "torch": lambda path: files.save_torch(path, {"x": torch.ones(100_000)}),
    "torch, small tensors": lambda path: files.save_torch(
        path, {str(i): torch.ones(1000) for i in range(50)}
    ),
    "checkpoint": save_checkpoint,
}


@pytest.mark.parametrize("limit", [1, 512, 2048, 20_000])
@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_is_atomic_and_cleans_up(tmp_path, file_limit, name, limit):
    path = tmp_path / "new" / "a"
    WRITERS[name](path)
    whole = path.read_bytes()
    path.write_bytes(b"old")
    with (
        file_limit(limit),
        pytest.raises(ArtifactError, match=r"while writing|cannot write") as caught,
    ):
        WRITERS[name](path)
    assert str(path.parent) in caught.value.what
    assert (names(tmp_path), path.read_bytes()) == (["a"], b"old")
    WRITERS[name](path)
    assert len(path.read_bytes()) == len(whole)


def test_only_the_one_writer_saves_with_torch():
    """torch alone hides why a disk refuses."""
    sources = Path(files.__file__).parents[1].rglob("*.py")
    found = [p.name for p in sources if "torch.save(" in p.read_text(encoding="utf-8")]
    assert found == ["files.py"]


@pytest.mark.parametrize("name", ["bytes", "json", "tensors", "torch"])
def test_every_writer_refuses_a_folder_without_a_name_of_its_own(tmp_path, monkeypatch, name):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for place in ("", ".", "./", "/", ".."):
        with pytest.raises(ArtifactError, match=r"cannot write .*: Is a directory"):
            WRITERS[name](Path(place))
        with pytest.raises(ArtifactError, match=r"cannot write .*: Is a directory"):
            files.check_place(Path(place))
    assert names(tmp_path) == []
    WRITERS[name](Path("a"))
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["bytes", "json", "tensors", "torch"])
def test_every_writer_names_a_forbidden_place(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "a", tmp_path / "folder", tmp_path / ("a" * 300)):
        with pytest.raises(ArtifactError, match=r"cannot write"):
            WRITERS[name](place)
        with pytest.raises(ArtifactError, match=r"cannot write"):
            files.check_place(place)
    assert names(tmp_path) == ["file"]
    files.check_place(tmp_path / "folder" / "b")
    files.check_place(tmp_path / "file")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


# Hashes


def test_value_hash_ignores_order_of_keys_and_sees_values():
    same = files.value_hash({"a": 1, "b": [1, 2]})
    assert files.value_hash({"b": [1, 2], "a": 1}) == same
    assert files.value_hash({"a": 1, "b": [2, 1]}) != same


def test_folder_hash_sees_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    first = files.folder_hash(tmp_path)
    assert files.folder_hash(tmp_path) == first
    (tmp_path / "sub" / "a").write_text("2")
    changed = files.folder_hash(tmp_path)
    (tmp_path / "sub" / "a").write_text("1")
    assert files.folder_hash(tmp_path) == first != changed
    (tmp_path / "sub" / "a").rename(tmp_path / "sub" / "b")
    assert files.folder_hash(tmp_path) != first


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.delenv("CONCEPTBASIS_CACHE")
    assert files.cache_folder().name == "conceptbasis"


# Lock

HOLD = """
import sys
from pathlib import Path
from conceptbasis.runs.files import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_folder_in_use_by_another_process_is_an_error(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(ArtifactError, match="in use by another process") as caught,
            files.folder_lock(tmp_path),
        ):
            pass
        assert str(tmp_path) in str(caught.value)
        other.communicate("")
    with files.folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_lock_is_given_back_when_the_work_fails(tmp_path):
    with pytest.raises(ValueError, match="work"), files.folder_lock(tmp_path):
        raise ValueError("work")
    with files.folder_lock(tmp_path):
        pass


def test_lock_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ArtifactError, match="cannot write"),
        files.folder_lock(tmp_path / "file" / "run"),
    ):
        pass
