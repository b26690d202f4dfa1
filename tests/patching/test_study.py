"""A study between two planted models: overlap, cross-use, page, log, and Python."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from planted_head import MARKERS, pairs, plant

sys.path.insert(0, str(Path(__file__).parents[1]))

from conceptbasis.cli.main import main
from conceptbasis.config.model import as_model_config
from conceptbasis.config.run import RunConfig
from conceptbasis.errors import ArtifactError
from conceptbasis.models.stream.components import list_components
from conceptbasis.patching import finding, study
from conceptbasis.patching.crossing import carry_by_depth
from conceptbasis.patching.finding import Search
from conceptbasis.patching.matched import MappedLayer, match_components
from conceptbasis.patching.study import Subject, study_circuits
from conceptbasis.patching.tasks import TASKS
from conceptbasis.patching.writes import mean_writes
from conceptbasis.results.circuits import Component, SharedCircuits
from conceptbasis.runs.files import read_json
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.storage import from_json

QUIET = Reporter(quiet=True)
SEARCH = Search(n_prompts=24, n_random=12, n_permutations=200)


@pytest.fixture(autouse=True)
def _task(monkeypatch):
    other = dataclasses.replace(MARKERS, name="same-markers")
    for task in (MARKERS, other):
        monkeypatch.setitem(TASKS, task.name, task)


def subject(name: str, place: tuple[int, int], seed: int) -> Subject:
    loaded = dataclasses.replace(plant(*place, seed=seed), name=name)
    return Subject(as_model_config({"name": name, "model": name}), loaded)


def run(out, donor=(1, 1), target=(1, 0), **more) -> SharedCircuits:
    one, other = subject("one", donor, 0), subject("other", target, 1)
    tasks = ["markers", "same-markers"]
    return study_circuits(one, other, tasks, RunConfig(), SEARCH, out, QUIET, **more)


def overlaps(found: SharedCircuits, side: str, by: str):
    return [o for o in found.overlaps if (o.side, o.by) == (side, by)]


def test_one_circuit_for_two_tasks_overlaps_wholly_and_more_than_random_sets(tmp_path):
    found = run(tmp_path)
    (within,) = overlaps(found, "donor", "components")
    assert within.score == 1.0
    assert within.n_shared == 1
    assert within.random.value == pytest.approx(0.5, abs=0.15)  # two heads at that depth
    for o in overlaps(found, "between", "depth"):
        assert o.score == 1.0
        assert o.p == pytest.approx(1 / 3, abs=0.15)  # three blocks, so a third does as well


def test_planted_heads_at_other_depths_do_not_overlap(tmp_path):
    found = run(tmp_path, target=(2, 0))
    assert all(o.score == 0.0 and o.p == 1.0 for o in overlaps(found, "between", "depth"))
    assert all(c.carried.value > 0.9 for c in found.cross_use)  # knocks out the wrong heads
    assert all(c.own.value < 0.1 for c in found.cross_use)


def test_cross_use_takes_the_task_where_the_depth_is_right(tmp_path):
    found = run(tmp_path)
    for c in found.cross_use:
        assert c.n_components == 1
        assert 0.2 < c.carried.value < 0.8  # one of two heads at the right depth
        assert c.random.value > c.carried.value


def test_a_carried_set_has_the_donors_profile(tmp_path):
    found = run(tmp_path)
    drawn = torch.Generator().manual_seed(0)
    circuit = found.donor.circuits[0]
    sets = {carry_by_depth(found.donor, circuit, found.target, drawn=drawn) for _ in range(30)}
    assert sets == {frozenset({Component(1, 0)}), frozenset({Component(1, 1)})}


def test_a_finished_circuit_is_read_again_and_another_model_is_not(tmp_path, monkeypatch):
    first = run(tmp_path)
    monkeypatch.setattr(finding, "measure_effects", lambda *_: pytest.fail("found again"))
    assert run(tmp_path).donor == first.donor
    with pytest.raises(pytest.fail.Exception, match="found again"):
        run(tmp_path, donor=(2, 1))


def rows_of(loaded, seed: int):
    d_model = loaded.architecture.d_model
    return torch.randn(40, d_model, generator=torch.Generator().manual_seed(seed)).double()


def test_components_that_write_alike_are_matched_and_unlike_ones_are_not():
    """The target is the donor in another basis, its heads in another order."""
    loaded = plant(1, 1)
    torch.manual_seed(3)
    donor = {c: torch.randn(16).double() for c in list_components(loaded)}
    rotation = torch.linalg.qr(torch.randn(16, 16).double()).Q
    swapped = {c: c if c.head < 0 else Component(c.layer, 1 - c.head) for c in donor}
    target = {swapped[c]: rotation @ w for c, w in donor.items()}
    rows = rows_of(loaded, 0)
    mapped = [MappedLayer(2, 2, rows, rows @ rotation.T)]
    assert match_components(mapped, donor, target) == swapped
    chance = match_components([MappedLayer(2, 2, rows, rows_of(loaded, 9))], donor, target)
    assert chance != swapped  # rows that do not belong together match nothing
    assert all(a.kind == b.kind for a, b in chance.items())
    above = match_components([MappedLayer(0, 0, rows, rows @ rotation.T)], donor, target)
    assert {c.layer for c in above} == {0}  # no matched latents above layer 0


def test_only_the_planted_head_writes_another_thing_on_clean_prompts():
    loaded = plant(1, 1)
    writes = mean_writes(loaded, pairs(loaded, None, 24))
    assert writes.pop(Component(1, 1)).norm() > 1
    assert max(float(w.norm()) for w in writes.values()) < 1e-5


def test_matched_latents_carry_a_circuit_over(tmp_path, monkeypatch):
    rows = rows_of(plant(1, 1), 0)
    mapped = [MappedLayer(2, 2, rows, rows)]
    monkeypatch.setattr(study, "read_mapped_layers", lambda *_: mapped)
    found = run(tmp_path, target=(1, 1), run=tmp_path / "run")
    for o in overlaps(found, "between", "latents"):
        assert o.score == 1.0
        assert o.n_shared == 1
    by_latents = [c for c in found.cross_use if c.by == "latents"]
    assert len(by_latents) == 2
    assert all(c.carried.value < 0.1 for c in by_latents)
    assert found.left_out == ()


def test_without_a_run_it_is_said_what_is_left_out(tmp_path):
    assert any("no run was given" in line for line in run(tmp_path).left_out)


def test_a_run_between_other_models_is_refused(tmp_path):
    with pytest.raises(ArtifactError):
        run(tmp_path, run=tmp_path / "no-run")


@pytest.fixture
def folders(tmp_path):
    """The two planted models as ordinary folders."""
    from conceptbasis.models.loading.creation import save_folder

    for name, place in (("one", (1, 1)), ("other", (1, 0))):
        loaded = plant(*place)
        save_folder(loaded.model, loaded.tokenizer, tmp_path / name)
    return [str(tmp_path / name) for name in ("one", "other")]


def test_the_command_prints_tables_writes_a_page_and_logs(folders, tmp_path, monkeypatch, capsys):
    from offline_runs import read_offline_run

    for name in ("API_KEY", "RUN_GROUP", "RUN_ID", "SWEEP_ID", "DATA_DIR", "CACHE_DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "circuits"
    given = ["circuits", *folders, "--task", "markers", "--task", "same-markers"]
    assert main([*given, "--out", str(out), "--n-prompts", "24", "--n-random", "5"]) == 0
    said = capsys.readouterr().out
    for heading in ("Do the models do", "Circuits", "Faithfulness", "Overlap", "Cross-use"):
        assert heading in said
    assert max(map(len, said.splitlines())) <= 80 + len(str(tmp_path))
    found = from_json(SharedCircuits, read_json(out / "circuits.json"), out / "circuits.json")
    assert found.donor.circuits[0].members == (Component(1, 1),)
    page = (out / "circuits.html").read_text()
    assert page.count("<svg") >= 2
    assert "L1H1" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    (file,) = (out / "wandb").glob("offline-run-*/*.wandb")
    summary = read_offline_run(file).summary
    text = json.dumps(summary)
    assert "circuits/donor/markers/faithfulness" in text
    assert "circuit_overlaps" in text


def test_an_impossible_share_is_an_error(folders, tmp_path, capsys):
    given = ["circuits", *folders, "--task", "markers", "--wandb", "off", "--share", "1.5"]
    assert main([*given, "--out", str(tmp_path / "x")]) == 2
    assert "correct --share" in capsys.readouterr().err


def test_python_gives_data_frames(folders, tmp_path):
    import conceptbasis as cb

    found = cb.circuits(*folders, tasks=["markers"], out=tmp_path / "p", n_prompts=24, quiet=True)
    effects = found.effects.set_index(["side", "component"])
    assert bool(effects.loc[("donor", "L1H1"), "in_circuit"])
    assert effects.loc[("donor", "L1H1"), "effect"] > 0.9
    assert abs(effects.loc[("donor", "L1H0"), "effect"]) < 1e-3
    assert list(found.circuits.n_heads) == [1, 1]
    assert list(found.cross_use.by) == ["depth"]
    assert len(found.overlaps) == 1
    assert "markers" in repr(found)
    assert "<table" in found._repr_html_()
