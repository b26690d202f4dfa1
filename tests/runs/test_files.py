"""Files of a run: atomic, hashed, reused when nothing changed, recomputed with a reason."""

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
from conceptbasis.runs import files as artifacts
from conceptbasis.runs.stage import PROVENANCE, RESULT, TENSORS, Run, load_stage


class Stage:
    """A stage that counts how often it computes."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.run = Run(folder, self.lines.append)
        self.computed = 0

    def __call__(self, *, config=None, inputs=None, seed=0, result=None):
        def compute():
            self.computed += 1
            return {"x": torch.arange(6.0)}, result or {"value": 1.5, "none": None}

        return self.run.stage(
            "fit",
            config={"n_atoms": 32, "method": "omp"} if config is None else config,
            inputs={"match": "aa", "align": "bb"} if inputs is None else inputs,
            compute=compute,
            seed=seed,
        )


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "run")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


# Reuse


def test_unchanged_stage_is_reused_with_the_same_values(stage):
    first, second = stage(), stage()
    assert stage.computed == 1
    assert (first.reused, second.reused) == (False, True)
    assert stage.lines == ["fit: computing (nothing there yet)", "fit: reused"]
    assert first.hash == second.hash
    assert torch.equal(second.tensors["x"], torch.arange(6.0))
    assert second.result == {"value": 1.5, "none": None}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"config": {"n_atoms": 16, "method": "omp"}}, "config changed: n_atoms"),
        ({"config": {"n_atoms": 16, "method": "x"}}, "config changed: method, n_atoms"),
        ({"config": {"n_atoms": 32}}, "config changed: method"),
        ({"config": {"n_atoms": 32, "method": "omp", "k": 1}}, "config changed: k"),
        ({"inputs": {"match": "other", "align": "bb"}}, "inputs changed: match"),
        ({"seed": 1}, "the seed changed: 0 to 1"),
    ],
)
def test_changed_stage_is_recomputed_and_says_what_changed(stage, change, reason):
    stage()
    again = stage(**change)
    assert stage.computed == 2
    assert not again.reused
    assert stage.lines[-1] == f"fit: recomputing, because {reason}"
    assert stage(**change).reused


def test_configuration_values_are_compared_as_json_sees_them(stage):
    stage(config={"splits": (0.6, 0.4), "path": Path("/a")})
    assert stage(config={"splits": [0.6, 0.4], "path": "/a"}).reused
    assert not stage(config={"splits": [0.4, 0.6], "path": "/a"}).reused


def test_unfinished_stage_is_recomputed(stage):
    done = stage()
    (done.folder / PROVENANCE).unlink()
    assert not stage().reused
    assert stage.lines[-1] == "fit: computing (unfinished)"
    assert stage().reused


def test_stage_whose_compute_fails_leaves_nothing_that_counts_as_finished(stage):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        stage.run.stage("fit", config={}, inputs={}, compute=fail)
    assert not (stage.run.folder / "fit" / PROVENANCE).exists()
    with pytest.raises(ArtifactError, match="is missing"):
        load_stage(stage.run.folder, "fit")


def test_provenance_tells_where_a_stage_came_from(stage):
    done = stage(seed=7)
    found = artifacts.read_json(done.folder / PROVENANCE)
    assert found["config"] == {"n_atoms": 32, "method": "omp"}
    assert found["inputs"] == {"match": "aa", "align": "bb"}
    assert (found["seed"], found["device"]) == (7, "cpu")
    assert found["seconds"] >= 0
    assert {"python", "torch", "transformers", "sae-lens", "conceptbasis"} <= set(found["versions"])
    for name, digest in found["outputs"].items():
        assert artifacts.file_hash(done.folder / name) == digest


def test_hash_of_a_stage_follows_its_outputs_and_not_its_time(stage, tmp_path):
    first = stage()
    other = Stage(tmp_path / "other")
    assert other().hash == first.hash
    assert other(seed=1, result={"value": 2.0}).hash != first.hash


# Corruption


@pytest.mark.parametrize("name", [TENSORS, RESULT])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damaged_output_is_an_error_that_names_the_file(stage, name, damage):
    path = stage().folder / name
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(
            data[: len(data) // 2] if damage == "truncate" else data[:-2] + b"\0" + data[-1:]
        )
    with pytest.raises(ArtifactError, match="corrupt or truncated") as caught:
        stage()
    assert str(path) in str(caught.value)
    assert str(path.parent) in caught.value.fix
    assert stage.computed == 1


@pytest.mark.parametrize("content", ["", '{"config": {', "not json", "\ufffe"])
def test_damaged_provenance_is_an_error_that_names_the_file(stage, content):
    path = stage().folder / PROVENANCE
    path.write_text(content, encoding="utf-16" if content == "\ufffe" else "utf-8")
    with pytest.raises(ArtifactError, match="corrupt or truncated") as caught:
        stage()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"outputs": 3}', '{"seed": 0}'])
def test_provenance_of_another_shape_is_an_error_that_names_the_file(tmp_path, content):
    stage = Stage(tmp_path)
    done = stage()
    (done.folder / PROVENANCE).write_text(content)
    with pytest.raises(ArtifactError, match=r"provenance\.json"):
        load_stage(tmp_path, "fit")


def test_corrupt_stage_is_computed_again_once_its_folder_is_deleted(stage):
    import shutil

    folder = stage().folder
    (folder / TENSORS).write_bytes(b"x")
    shutil.rmtree(folder)
    assert not stage().reused
    assert stage().reused


@pytest.mark.parametrize("data", [b"", b"\x08", b"\xff" * 64])
def test_bad_tensors_are_an_error_that_names_the_file(tmp_path, data):
    path = tmp_path / "t.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"t\.safetensors is corrupt"):
        artifacts.load_tensors(path)


def test_truncated_tensors_are_an_error(tmp_path):
    path = tmp_path / "t.safetensors"
    artifacts.save_tensors(path, {"x": torch.randn(100, 10)})
    assert artifacts.load_tensors(path)["x"].shape == (100, 10)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=r"t\.safetensors is corrupt"):
        artifacts.load_tensors(path)


def test_missing_files_are_errors_that_name_them(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.json is missing"):
        artifacts.read_json(tmp_path / "none.json")
    with pytest.raises(ArtifactError, match=r"none\.safetensors is missing"):
        artifacts.load_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("text", ["[]", "3", '{"a": 1}'])
def test_json_without_what_it_must_hold_is_an_error(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"r\.json is corrupt .* does not hold b"):
        artifacts.read_json(path, ("b",))
    path.write_text('{"a": 1, "b": 2}')
    assert artifacts.read_json(path, ("b",)) == {"a": 1, "b": 2}


def test_nobody_is_told_to_delete_a_whole_run(tmp_path):
    run, stage = tmp_path / "run", tmp_path / "run" / "fit"
    stage.mkdir(parents=True)
    (run / artifacts.CONFIG).touch()
    assert str(stage) in artifacts.corrupt(stage / "result.json", "x").fix
    assert "delete" not in artifacts.corrupt(run / "summary.json", "x").fix


def test_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not a run folder .* holds no config"):
        artifacts.check_run_folder(tmp_path)
    with pytest.raises(ArtifactError, match="no such folder"):
        artifacts.check_run_folder(tmp_path / "none")
    file = tmp_path / artifacts.CONFIG
    file.touch()
    artifacts.check_run_folder(tmp_path)
    with pytest.raises(ArtifactError, match="is not a run folder"):
        artifacts.check_run_folder(file)


# Writing


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_under_another_library(tmp_path, error):
    with pytest.raises(ArtifactError, match="the disk is full"), artifacts.writing(tmp_path):
        raise error


def test_other_errors_of_another_library_are_left_alone(tmp_path):
    with pytest.raises(SafetensorError, match="shape"), artifacts.writing(tmp_path):
        raise SafetensorError("shape")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_json_holds_no_number_that_is_not_finite(tmp_path, value):
    with pytest.raises(ArtifactError, match="not finite"):
        artifacts.write_json(tmp_path / "r.json", {"x": value})
    assert names(tmp_path) == []
    artifacts.write_json(tmp_path / "r.json", {"x": None, "y": 1e300})
    assert json.loads((tmp_path / "r.json").read_text()) == {"x": None, "y": 1e300}


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_is_an_error_and_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / "r.json"
    artifacts.write_json(path, {"old": True})
    target = artifacts.os if step == "fsync" else Path
    monkeypatch.setattr(target, step, full_disk)
    with pytest.raises(ArtifactError, match="the disk is full") as caught:
        artifacts.write_json(path, {"old": False})
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert "reused" in caught.value.fix
    assert artifacts.read_json(path) == {"old": True}
    assert names(tmp_path) == ["r.json"]


def test_full_disk_when_the_temporary_file_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", full_disk)
    with pytest.raises(ArtifactError, match="the disk is full"):
        artifacts.save_tensors(tmp_path / "t.safetensors", {"x": torch.ones(3)})
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_full_disk_in_the_middle_of_a_stage_leaves_it_unfinished(stage, monkeypatch):
    before = stage()
    real, calls = artifacts.write_bytes, []

    def second_write_fails(path, data):
        calls.append(path.name)
        if len(calls) == 2:
            monkeypatch.setattr(artifacts.os, "fsync", full_disk)
        real(path, data)

    monkeypatch.setattr(artifacts, "write_bytes", second_write_fails)
    with pytest.raises(ArtifactError, match="the disk is full"):
        stage(seed=3, result={"value": 9.0})
    monkeypatch.undo()
    assert calls == [TENSORS, RESULT]
    assert PROVENANCE not in names(before.folder)
    assert not any(name.endswith(".tmp") for name in names(before.folder))
    assert not stage(seed=3).reused
    assert stage.lines[-1] == "fit: computing (unfinished)"


def test_folder_without_permission_is_an_error(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(ArtifactError, match=r"cannot write .*Permission denied"):
        artifacts.write_text(tmp_path / "a" / "b.txt", "x")


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    artifacts.write_json(path, {"old": True})

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(artifacts.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        artifacts.write_json(path, {"old": False})
    monkeypatch.undo()
    assert artifacts.read_json(path) == {"old": True}


# Hashes


def test_value_hash_ignores_order_of_keys_and_sees_values():
    same = artifacts.value_hash({"a": 1, "b": [1, 2]})
    assert artifacts.value_hash({"b": [1, 2], "a": 1}) == same
    assert artifacts.value_hash({"a": 1, "b": [2, 1]}) != same


def test_folder_hash_sees_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    first = artifacts.folder_hash(tmp_path)
    assert artifacts.folder_hash(tmp_path) == first
    (tmp_path / "sub" / "a").write_text("2")
    changed = artifacts.folder_hash(tmp_path)
    (tmp_path / "sub" / "a").write_text("1")
    assert artifacts.folder_hash(tmp_path) == first != changed
    (tmp_path / "sub" / "a").rename(tmp_path / "sub" / "b")
    assert artifacts.folder_hash(tmp_path) != first


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path))
    assert artifacts.cache_folder() == tmp_path
    monkeypatch.delenv("CONCEPTBASIS_CACHE")
    assert artifacts.cache_folder().name == "conceptbasis"


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
            artifacts.folder_lock(tmp_path),
        ):
            pass
        assert str(tmp_path) in str(caught.value)
        other.communicate("")
    with artifacts.folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_lock_is_given_back_when_the_work_fails(tmp_path):
    with pytest.raises(ValueError, match="work"), artifacts.folder_lock(tmp_path):
        raise ValueError("work")
    with artifacts.folder_lock(tmp_path):
        pass


def test_lock_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ArtifactError, match="cannot write"),
        artifacts.folder_lock(tmp_path / "file" / "run"),
    ):
        pass
