"""Baselines on a run: what they are made of, what they may read, and when they are left out."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from steps import steps_of

from conceptbasis.edits.intervention import Intervention, apply_intervention
from conceptbasis.evaluation import measure
from conceptbasis.evaluation.conditions import Condition
from conceptbasis.methods.contrast import warped_pairs
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.stages.baselines import (
    Baselines,
    Method,
    left_out,
    plan_baselines,
    run_baselines,
)

ALL = (
    "least_squares",
    "affine",
    "relu_map",
    "procrustes",
    "contrast_ridge",
    "contrast_ridge_stream",
)


@pytest.fixture
def made(make_study):
    """A study with every baseline of it."""

    def make(**sections):
        study = make_study(**{"evaluate": {"baselines": ALL}, **sections})
        steps = steps_of(study)
        found = run_baselines(study, steps.rebuilder, steps.direction, steps.alignment)
        return SimpleNamespace(study=study, steps=steps, baselines=found)

    return make


def plan(made, baselines=None):
    baselines = baselines or made.baselines
    planned = plan_baselines(made.study, made.steps.harvest, baselines)
    return planned, left_out(made.study, baselines)


def test_every_baseline_is_made_and_edits_the_target(made):
    found = made()
    assert set(found.baselines.methods) == set(ALL)
    assert found.baselines.left_out == {}
    planned, reasons = plan(found)
    assert reasons == {}
    for name, intervention in planned.items():
        norms = intervention.directions.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
        with apply_intervention(found.study.target.loaded, intervention) as report:
            assert isinstance(report, EditReport), name
    assert planned["contrast_ridge"].which == "attention"
    assert planned["contrast_ridge"].gamma == 2.0
    assert planned["contrast_ridge_stream"].mode == "affine"
    own, stream = (planned[name].directions for name in ("contrast_ridge", "contrast_ridge_stream"))
    assert not torch.equal(own[0], own[-1])  # the reference method's form: each layer its own
    assert any(torch.equal(stream, row.expand_as(stream)) for row in own)


def test_affine_has_the_direction_of_least_squares_and_a_mean_of_its_own(made):
    found = made()
    planned, _ = plan(found)
    affine, plain = planned["affine"], planned["least_squares"]
    assert torch.equal(affine.directions, plain.directions)
    assert (affine.mode, plain.mode) == ("affine", "affine")
    assert not torch.allclose(affine.means, plain.means, atol=1e-2)


def test_making_them_again_gives_the_same(made):
    found = made()
    folder = found.study.run.folder / "baselines"
    first = (folder / "result.json").read_bytes()
    (folder / "provenance.json").unlink()
    steps = found.steps
    again = run_baselines(found.study, steps.rebuilder, steps.direction, steps.alignment)
    assert (folder / "result.json").read_bytes() == first
    for name in ALL:
        ours, theirs = (b.methods[name].directions for b in (found.baselines, again))
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("budget", "names", "classes"),
    [
        ("B0", ["fruit", "how_to", "translate"], {"concepts"}),
        ("B0d", ["decline", "fruit", "how_to", "translate"], {"concepts", "declines"}),
    ],
)
def test_contrast_ridge_uses_the_concepts_of_its_budget_and_the_ledger_has_them(
    made, budget, names, classes
):
    found = made(budget=budget, evaluate={"baselines": ["contrast_ridge"]})
    contrast = found.baselines.output.result["contrast"]
    assert contrast["n_concepts"] == len(names)
    assert [c["name"] for c in contrast["concepts"]] == names
    assert {len(row["coefficients"]) for row in contrast["layers"]} == {len(names)}
    shown = {entry["class"]: entry["texts"] for entry in found.study.ledger.as_list()}
    assert classes <= set(shown)
    assert shown["concepts"] == 3 * 48
    assert not {"harmful_requests", "refusals"} & set(shown)


def test_too_few_concepts_leave_contrast_ridge_out_with_the_reason(ready, made):
    suite = replace(ready.suite, concepts=ready.suite.concepts[:2])
    found = made(suite=suite, evaluate={"baselines": ["least_squares", "contrast_ridge"]})
    planned, reasons = plan(found)
    assert set(planned) == {"least_squares"}
    assert reasons == {"contrast_ridge": "fewer than three concepts are allowed"}


def with_post_norm(made):
    """The same study with a target whose writers are followed by a norm."""
    loaded = made.study.target.loaded
    row = replace(loaded.architecture.row, attention_norm="a_norm")
    architecture = replace(loaded.architecture, row=row)
    target = replace(made.study.target, loaded=replace(loaded, architecture=architecture))
    return replace(made.study, target=target)


def test_post_norms_leave_the_weight_edit_out_but_not_the_stream_form(made):
    found = made(evaluate={"baselines": ["contrast_ridge", "contrast_ridge_stream"]})
    (found.study.run.folder / "baselines" / "provenance.json").unlink()
    study, steps = with_post_norm(found), found.steps
    rebuilder = replace(steps.rebuilder, study=study)
    again = run_baselines(study, rebuilder, steps.direction, steps.alignment)
    assert again.output.result["contrast"]["guard"]["under"] == "ablate"
    planned, reasons = plan_baselines(study, steps.harvest, again), left_out(study, again)
    assert set(planned) == {"contrast_ridge_stream"}
    assert "mixtral, whose writers are followed by a norm" in reasons["contrast_ridge"]


def test_forms_that_remove_are_left_out_of_a_run_that_strengthens(made):
    found = made(replay={"mode": "add", "alpha": 2.0})
    planned, reasons = plan(found)
    assert set(planned) == {"least_squares", "relu_map", "procrustes"}
    assert {i.mode for i in planned.values()} == {"add"}
    assert set(reasons) == {"affine", "contrast_ridge", "contrast_ridge_stream"}
    assert "strengthens refusal" in reasons["affine"]


def test_baselines_are_edited_where_the_run_edits(made):
    found = made(replay={"layers": "last"})
    planned, _ = plan(found)
    assert {i.layers for i in planned.values()} == {(2,)}
    early = Baselines(
        {
            "procrustes": Method(
                (0,), found.baselines.methods["procrustes"].directions[:1], {0: 0.5}, None
            )
        },
        {},
        found.baselines.output,
    )
    planned, reasons = plan(found, early)
    assert planned == {}
    assert "no direction to the layers" in reasons["procrustes"]


def test_a_failing_baseline_is_left_out_and_the_others_stay(made, monkeypatch):
    from conceptbasis.errors import NumericsError
    from conceptbasis.methods import dense_maps

    def fails(moments):
        raise NumericsError("no rotation", expected="one", fix="none")

    monkeypatch.setattr(dense_maps, "fit_orthogonal_map", fails)
    found = made(evaluate={"baselines": ["least_squares", "procrustes"]})
    assert set(found.baselines.methods) == {"least_squares"}
    assert "no rotation" in found.baselines.left_out["procrustes"]


def test_finished_run_has_them_as_conditions_and_says_what_is_left_out(finished):
    names = {row["name"] for row in finished.summary["conditions"]}
    result = json.loads((finished.folder / "evaluate" / "result.json").read_text())
    assert result["left_out"] == {}
    assert names >= {"affine", "procrustes", "contrast_ridge", "contrast_ridge_stream"}
    rows = {row["name"]: row for row in finished.summary["conditions"]}
    assert rows["contrast_ridge"]["edited"]["attention"][0] > 0
    assert rows["contrast_ridge"]["edited"]["stream"][0] == 0
    assert rows["contrast_ridge_stream"]["edited"]["stream"][0] > 0


def test_nearest_donor_layer_of_the_path_stands_for_a_target_layer():
    distance = [[0.1, 0.3, 0.9], [0.5, 0.2, 0.1]]
    path = [[0, 0], [0, 1], [1, 1], [1, 2]]
    result = {"fingerprint_distance": distance, "fingerprint_path": path}
    alignment = SimpleNamespace(output=SimpleNamespace(result=result))
    assert warped_pairs(alignment) == [(0, 0), (1, 2)]


def test_two_affine_edits_with_other_means_are_measured_apart():
    bench = SimpleNamespace(key="bench")
    edit = Intervention((0,), torch.eye(1, 4), "affine", means=torch.zeros(1, 4))
    moved = replace(edit, means=torch.ones(1, 4))
    keys = {measure._key(bench, Condition("a", intervention=e)) for e in (edit, moved)}
    assert len(keys) == 2
    plain = [replace(e, mode="ablate") for e in (edit, moved)]
    assert len({measure._key(bench, Condition("a", intervention=e)) for e in plain}) == 1
