"""Stages as data: reused when nothing changed, computed with a reason, interrupted without harm."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from conceptbasis.config.base import parse_config
from conceptbasis.config.run import RunConfig
from conceptbasis.errors import ArtifactError
from conceptbasis.runs import code, files, graph
from conceptbasis.runs.graph import (
    PROVENANCE,
    Graph,
    Stage,
    check_order,
    config_slice,
    load_result,
)
from conceptbasis.runs.listening import Listener
from conceptbasis.runs.storage import RESULT, TENSORS

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Read:
    """What the first stage leaves."""

    x: Float[Tensor, " n"]
    value: float
    none: int | None = None


@dataclass(frozen=True)
class Made:
    """What the second stage leaves."""

    total: float


def settings(**sections: Any) -> RunConfig:
    return parse_config(RunConfig, sections, "test")


@dataclass
class Run:
    """A run of two stages, which counts how often each computes; the context of the graph too."""

    folder: Path
    config: RunConfig = field(default_factory=settings)
    sources: dict[str, str] = field(default_factory=lambda: {"texts": "aa", "model": "bb"})
    lines: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)
    booked: list[str] = field(default_factory=list)
    value: float = 1.5
    refuses: bool = False

    def source_hash(self, name: str) -> str:
        return self.sources[name]

    def say(self, line: str) -> None:
        number, _, rest = line.partition(" ")
        self.numbers.append(number)
        self.lines.append(rest)

    def detail(self, line: str) -> None:
        pass

    def on_result(self, name: str, result: Any) -> None:
        self.booked.append(name)

    def go(self) -> Graph:
        found = Graph(self.folder, STAGES)
        for stage in STAGES:
            if stage.wanted(self.config):
                found.run(stage, self)
        return found

    def up_to_date(self) -> bool:
        return Graph(self.folder, STAGES).is_up_to_date(self)


def read(run: Run) -> Read:
    run.computed.append("read")
    return Read(torch.arange(6.0), run.value)


def make(run: Run, found: Read) -> Made:
    run.computed.append("make")
    return Made(float(found.x.sum()) + found.value)


def refuse(config: RunConfig, made: Made) -> None:
    if config.forecast.force:
        raise ValueError("refused")


READ = Stage("read", Read, read, sources=("texts", "model"), config=("fit", "match.r_min"))
MAKE = Stage(
    "make",
    Made,
    make,
    needs=(Read,),
    config=("curve", "-curve.n_prompts"),
    wanted=lambda config: config.seed != 99,
    check=refuse,
)
STAGES = (READ, MAKE)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


class Heard(Listener):
    """What a listener is told, and whether the stage's files were there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, []

    def on_stage(self, name: str, *, reused: bool) -> None:
        self.told.append(("begins", name, reused))

    def on_done(self, name: str, seconds: float) -> None:
        self.told.append(("done", name, (self.folder / name / PROVENANCE).exists()))
        assert seconds >= 0


def test_a_listener_is_told_of_every_stage_before_its_check(run):
    heard = Heard(run.folder)
    Graph(run.folder, STAGES, heard).run(READ, run)
    assert heard.told == [("begins", "read", False), ("done", "read", True)]
    again = Heard(run.folder)
    run.config = settings(forecast={"force": True})
    whole = Graph(run.folder, STAGES, again)
    whole.run(READ, run)
    with pytest.raises(ValueError, match="refused"):
        whole.run(MAKE, run)
    assert again.told[0] == ("begins", "read", True)
    assert again.told[2:] == [("begins", "make", False), ("done", "make", True)]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


# Reuse


def test_unchanged_stages_are_reused_with_the_same_values(run):
    first, second = run.go(), run.go()
    assert run.computed == ["read", "make"]
    assert run.lines == ["read: running", "make: running", "read: reused", "make: reused"]
    assert [first.done[n].reused for n in ("read", "make")] == [False, False]
    assert [second.done[n].reused for n in ("read", "make")] == [True, True]
    assert first.done["read"].hash == second.done["read"].hash
    assert torch.equal(second.get(Read).x, torch.arange(6.0))
    assert second.get(Made) == Made(16.5)
    assert run.booked == ["read", "make"] * 2


def test_each_line_has_the_number_of_the_stage_among_those_that_are_wanted(run):
    run.go()
    assert run.numbers == ["[1/2]", "[2/2]"]
    replace(run, config=settings(seed=99), numbers=(alone := [])).go()
    assert alone == ["[1/1]"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"config": settings(fit={"n_atoms": 16})}, "config changed: fit.n_atoms"),
        (
            {"config": settings(fit={"n_atoms": 16, "mass": 0.5}, match={"r_min": 0.7})},
            "config changed: fit.mass, fit.n_atoms, match.r_min",
        ),
        ({"sources": {"texts": "other", "model": "bb"}}, "inputs changed: texts"),
        ({"config": settings(seed=1)}, "the seed changed: 0 to 1"),
    ],
)
def test_a_changed_stage_runs_again_and_says_what_changed(run, change, reason):
    run.go()
    changed = replace(run, value=2.5, **change)
    again = changed.go()
    assert not again.done["read"].reused
    assert changed.lines[2] == f"read: running again, because {reason}"
    assert changed.lines[3] == "make: running again, because inputs changed: read"
    assert again.get(Made) == Made(17.5)
    changed.go()
    assert changed.lines[4:] == ["read: reused", "make: reused"]


@pytest.mark.parametrize(
    "config",
    [settings(match={"fdr": 0.01}), settings(curve={"n_prompts": 3}), settings(device="cuda")],
    ids=["another key", "a key left out", "the device"],
)
def test_settings_that_a_stage_does_not_read_are_no_reason(run, config):
    run.go()
    replace(run, config=config).go()
    assert run.computed == ["read", "make"]


def test_the_same_result_again_leaves_what_stands_below_it(run):
    run.go()
    replace(run, config=settings(fit={"n_atoms": 16})).go()
    assert run.computed == ["read", "make", "read"]
    assert run.lines[3] == "make: reused"


def test_changed_code_is_a_reason_that_names_the_definitions(run, monkeypatch):
    hashes = {"study.sites": "1", "core.a": "1", "core.b": "1", "core.c": "1"}
    monkeypatch.setattr(graph, "code_of", lambda function: hashes)
    run.go()
    assert run.up_to_date()
    hashes = {**hashes, "core.b": "2"}
    run.go()
    assert "read: running again, because code changed: core.b" in run.lines
    hashes = {"study.sites": "2", "core.d": "1"}
    assert not run.up_to_date()
    run.go()
    said = "read: running again, because code changed: core.a, core.b, core.c and 2 more"
    assert said in run.lines
    assert run.up_to_date()


def test_a_stage_of_an_older_version_runs_again(run):
    run.go()
    path = run.folder / "read" / PROVENANCE
    old = json.loads(path.read_text())
    del old["code"]
    path.write_text(json.dumps(old | {"version": "0.1"}))
    assert not run.up_to_date()
    run.go()
    assert run.lines[2] == "read: running again (it was made by an older version)"


def test_a_stage_that_is_not_wanted_has_no_result(run):
    found = replace(run, config=settings(seed=99)).go()
    assert set(found.done) == {"read"}
    assert found.find(Made) is None
    with pytest.raises(KeyError, match="Made"):
        found.get(Made)
    assert not (run.folder / "make").exists()


# Whether all can be reused


def test_a_finished_run_is_up_to_date_and_nothing_is_computed_to_find_out(run):
    assert not run.up_to_date()
    run.go()
    assert run.up_to_date()
    assert run.computed == ["read", "make"]
    assert run.lines == ["read: running", "make: running"]


@pytest.mark.parametrize(
    "change",
    [
        {"config": settings(fit={"n_atoms": 16})},
        {"config": settings(curve={"n_strengths": 3})},
        {"sources": {"texts": "aa", "model": "other"}},
        {"config": settings(seed=1)},
    ],
)
def test_any_change_leaves_it_out_of_date(run, change):
    run.go()
    assert not replace(run, **change).up_to_date()
    assert run.up_to_date()


@pytest.mark.parametrize("name", ["read", "make"])
def test_a_missing_or_interrupted_stage_leaves_it_out_of_date(run, name):
    run.go()
    (run.folder / name / PROVENANCE).unlink()
    assert not run.up_to_date()
    shutil.rmtree(run.folder / name)
    assert not run.up_to_date()


def test_a_stage_that_is_not_wanted_may_be_missing(run):
    config = settings(seed=99)
    replace(run, config=config).go()
    assert replace(run, config=config).up_to_date()
    assert not run.up_to_date()


@pytest.mark.parametrize("reused", [False, True])
def test_a_result_that_the_settings_refuse_is_refused_every_time(run, reused):
    forced = replace(run, config=settings(forecast={"force": True}))
    if reused:
        run.go()
    with pytest.raises(ValueError, match="refused"):
        forced.go()
    assert (run.folder / "make" / PROVENANCE).exists()
    with pytest.raises(ValueError, match="refused"):
        forced.up_to_date()
    run.go()
    assert run.computed == ["read", "make"]


# Interruption


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt, ValueError])
def test_a_stage_that_is_interrupted_leaves_no_provenance(run, monkeypatch, error):
    def dies(run, found):
        raise error

    real = MAKE.compute
    object.__setattr__(MAKE, "compute", dies)
    try:
        with pytest.raises(error):
            run.go()
    finally:
        object.__setattr__(MAKE, "compute", real)
    assert PROVENANCE not in names(run.folder / "make")
    with pytest.raises(ArtifactError, match="is missing"):
        load_result(run.folder, "make", Made)
    found = run.go()
    assert found.done["read"].reused
    assert found.get(Made) == Made(16.5)


def test_a_recomputation_that_is_interrupted_is_not_taken_for_the_old_result(run, monkeypatch):
    run.go()
    changed = replace(run, config=settings(fit={"n_atoms": 16}))
    monkeypatch.setattr(graph, "write_result", lambda folder, result: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        changed.go()
    monkeypatch.undo()
    assert PROVENANCE not in names(run.folder / "read")
    run.go()
    assert run.lines[-2] == "read: running again (it was interrupted)"


def test_a_full_disk_in_the_middle_of_a_stage_leaves_it_unfinished(run, monkeypatch):
    run.go()
    real, calls = files.write_bytes, []

    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def second_write_fails(path, data):
        calls.append(path.name)
        if len(calls) == 2:
            monkeypatch.setattr(files.os, "fsync", full_disk)
        real(path, data)

    monkeypatch.setattr(files, "write_bytes", second_write_fails)
    changed = replace(run, config=settings(seed=3), value=9.0)
    with pytest.raises(ArtifactError, match="the disk is full"):
        changed.go()
    monkeypatch.undo()
    assert calls == [TENSORS, RESULT]
    assert PROVENANCE not in names(run.folder / "read")
    assert not any(name.endswith(".tmp") for name in names(run.folder))
    assert changed.go().get(Made) == Made(24.0)
    assert changed.lines[-2] == "read: running again (it was interrupted)"


# Provenance


def test_provenance_tells_where_a_stage_came_from(run):
    config = settings(seed=7, curve={"n_strengths": 3})
    found = replace(run, config=config).go()
    told = files.read_json(run.folder / "make" / PROVENANCE)
    assert told["config"] == {
        f"curve.{name}": value
        for name, value in config.curve.model_dump(mode="json").items()
        if name != "n_prompts"
    }
    assert told["inputs"] == {"read": found.done["read"].hash}
    read_inputs = files.read_json(run.folder / "read" / PROVENANCE)["inputs"]
    assert read_inputs == {"texts": "aa", "model": "bb"}
    assert (told["seed"], told["device"]) == (7, "cpu")
    assert told["seconds"] >= 0
    assert told["code"] == code.code_of(make)
    assert {"python", "torch", "transformers", "sae-lens", "conceptbasis"} <= set(told["versions"])
    for name, digest in told["outputs"].items():
        assert files.file_hash(run.folder / "make" / name) == digest


def test_the_hash_of_a_stage_follows_its_outputs_and_not_its_time(run, tmp_path):
    first = run.go().done["read"]
    other = replace(run, folder=tmp_path / "other")
    assert other.go().done["read"].hash == first.hash
    changed = replace(other, config=settings(seed=1), value=2.0)
    assert changed.go().done["read"].hash != first.hash


# Corruption


@pytest.mark.parametrize("name", [TENSORS, RESULT])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_output_is_an_error_that_names_the_file(run, name, damage):
    run.go()
    path = run.folder / "read" / name
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        cut = damage == "truncate"
        path.write_bytes(data[: len(data) // 2] if cut else data[:-2] + b"\0" + data[-1:])
    for go in (run.go, run.up_to_date):
        with pytest.raises(ArtifactError, match="corrupt or truncated") as caught:
            go()
        assert str(path) in str(caught.value)
        assert str(path.parent) in caught.value.fix
    assert run.computed == ["read", "make"]


@pytest.mark.parametrize("content", ["", '{"config": {', "not json", "\ufffe"])
def test_damaged_provenance_is_an_error_that_names_the_file(run, content):
    run.go()
    path = run.folder / "read" / PROVENANCE
    path.write_text(content, encoding="utf-16" if content == "\ufffe" else "utf-8")
    with pytest.raises(ArtifactError, match="corrupt or truncated") as caught:
        run.go()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"outputs": 3}', '{"seed": 0}'])
def test_provenance_of_another_shape_is_an_error_that_names_the_file(run, content):
    run.go()
    (run.folder / "read" / PROVENANCE).write_text(content)
    with pytest.raises(ArtifactError, match=r"provenance\.json"):
        load_result(run.folder, "read", Read)


@pytest.mark.parametrize(
    "damage",
    [{"code": 3}, {"config": []}, {"inputs": None}, {"outputs": "x"}, {"outputs": {}}],
)
def test_provenance_with_a_section_of_another_shape_is_named(run, damage):
    run.go()
    path = run.folder / "read" / PROVENANCE
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(ArtifactError, match=r"provenance\.json"):
        run.go()


def test_a_corrupt_stage_is_computed_again_once_its_folder_is_deleted(run):
    run.go()
    folder = run.folder / "read"
    (folder / TENSORS).write_bytes(b"x")
    shutil.rmtree(folder)
    found = run.go()
    assert not found.done["read"].reused
    assert found.done["make"].reused
    assert run.up_to_date()


# Declarations


def test_a_stage_that_stands_before_one_it_needs_is_refused(run):
    with pytest.raises(ValueError, match="stage make stands before Read"):
        check_order([MAKE, READ])
    with pytest.raises(ValueError, match="stage make stands before Read"):
        Graph(run.folder, [MAKE])
    check_order(STAGES)


def test_settings_are_named_by_section_by_key_or_left_out():
    config = settings(fit={"n_atoms": 16})
    whole = config_slice(config, ["fit"])
    assert whole == {f"fit.{k}": v for k, v in config.fit.model_dump(mode="json").items()}
    assert config_slice(config, ["fit.n_atoms"]) == {"fit.n_atoms": 16}
    assert set(config_slice(config, ["fit", "-fit.n_atoms"])) == set(whole) - {"fit.n_atoms"}
    assert config_slice(config, ["budget", "behavior"]) == {
        "budget": config.budget,
        "behavior": config.behavior,
    }
    for wrong in (["fitting"], ["fit.atoms"], ["-fit.n_atoms"]):
        with pytest.raises(KeyError):
            config_slice(config, wrong)


def test_figures_are_read_without_tensors(run, monkeypatch):
    run.go()
    monkeypatch.setattr(graph, "read_result", SimpleNamespace)
    found = Graph(run.folder, STAGES)
    monkeypatch.undo()
    assert found.is_up_to_date(run)
    (run.folder / "read" / TENSORS).unlink()
    assert found.done["read"].figures().value == 1.5
