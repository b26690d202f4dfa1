"""Baselines on a run: what they are made of, what they may read, and when they are left out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from steps import Steps

from conceptbasis.edits.intervention import apply_intervention
from conceptbasis.errors import PromptError
from conceptbasis.methods import METHODS, catalog
from conceptbasis.methods.base import LeftOut, Method
from conceptbasis.methods.bridge import Bridge
from conceptbasis.methods.contrast import warped_pairs
from conceptbasis.methods.fitting import fitted_edit
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.results.evaluation import Baselines, Evaluation
from conceptbasis.runs.storage import read_result
from conceptbasis.runs.summary import read_summary

ALL = catalog.of_role("baseline")


@pytest.fixture
def made(make_study):
    """A study with every baseline of it."""

    def make(**sections):
        study = make_study(**{"evaluate": {"baselines": ALL}, **sections})
        steps = Steps(study)
        return SimpleNamespace(study=study, steps=steps, baselines=steps.get(Baselines))

    return make


def bridge_of(made, baselines=None, study=None):
    """What methods are handed in that study, with other baselines."""
    results = {type(d.result): d.result for d in made.steps.graph.done.values()}
    results[Baselines] = baselines or made.baselines
    return Bridge.of(study or made.study, *results.values())


def plan(made, baselines=None, study=None):
    """The edit of each baseline, and why others have none."""
    bridge, planned, reasons = bridge_of(made, baselines, study), {}, {}
    for fitted in (baselines or made.baselines).methods:
        try:
            planned[fitted.name] = fitted_edit(bridge, METHODS[fitted.name])
        except LeftOut as error:
            reasons[fitted.name] = str(error)
    return planned, reasons


def test_every_baseline_is_made_and_edits_the_target(made):
    found = made()
    assert [fitted.name for fitted in found.baselines.methods] == list(ALL)
    assert all(fitted.reason is None for fitted in found.baselines.methods)
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
    folder = found.study.folder / "baselines"
    first = (folder / "result.json").read_bytes()
    (folder / "provenance.json").unlink()
    again = Steps(found.study).get(Baselines)
    assert (folder / "result.json").read_bytes() == first
    for ours, theirs in zip(found.baselines.methods, again.methods, strict=True):
        assert torch.equal(ours.directions, theirs.directions)


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
    [contrast] = found.baselines.methods
    assert contrast.notes["concepts"] == names
    assert {tuple(row.details) for row in contrast.layers} == {tuple(names)}
    shown = {entry.text_class: entry.texts for entry in found.study.ledger.shown}
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
    side = made.study.target
    opened = replace(loaded, architecture=architecture)
    target = type(side).of(side.config, opened, side.model_hash, side.saes)
    return replace(made.study, target=target)


def test_post_norms_leave_the_weight_edit_out_but_not_the_stream_form(made):
    found = made(evaluate={"baselines": ["contrast_ridge", "contrast_ridge_stream"]})
    (found.study.folder / "baselines" / "provenance.json").unlink()
    study = with_post_norm(found)
    again = Steps(study).get(Baselines)
    assert {fitted.notes["guard"]["under"] for fitted in again.methods} == {"ablate"}
    planned, reasons = plan(found, again, study)
    assert set(planned) == {"contrast_ridge_stream"}
    assert "mixtral, whose writers are followed by a norm" in reasons["contrast_ridge"]


def test_forms_that_remove_are_left_out_of_a_run_that_strengthens(made):
    found = made(replay={"mode": "add", "alpha": 2.0})
    planned, reasons = plan(found)
    assert set(planned) == {"least_squares", "relu_map", "procrustes"}
    assert {i.mode for i in planned.values()} == {"add"}
    assert set(reasons) == {"affine", "contrast_ridge", "contrast_ridge_stream"}
    assert "strengthens the behavior" in reasons["affine"]


def test_baselines_are_edited_where_the_run_edits(made):
    found = made(replay={"layers": "last"})
    planned, _ = plan(found)
    assert {i.layers for i in planned.values()} == {(2,)}
    whole = next(m for m in found.baselines.methods if m.name == "procrustes")
    early = replace(whole, layers=whole.layers[:1], directions=whole.directions[:1])
    planned, reasons = plan(found, Baselines((early,)))
    assert planned == {}
    assert "no direction to the layers" in reasons["procrustes"]


def test_a_failing_baseline_is_left_out_and_the_others_stay(made, monkeypatch):
    from conceptbasis.core.directions import mappers
    from conceptbasis.errors import NumericsError

    def fails(moments):
        raise NumericsError("no rotation", expected="one", fix="none")

    monkeypatch.setattr(mappers, "fit_orthogonal_map", fails)
    found = made(evaluate={"baselines": ["least_squares", "procrustes"]})
    planned, reasons = plan(found)
    assert set(planned) == {"least_squares"}
    assert "no rotation" in reasons["procrustes"]


def test_finished_run_has_them_as_conditions_and_says_what_is_left_out(finished):
    rows = {row.name: row.figures for row in read_summary(finished.folder).conditions}
    evaluation = read_result(finished.folder / "evaluate", Evaluation)
    assert evaluation.left_out == {}
    assert set(rows) >= {"affine", "procrustes", "contrast_ridge", "contrast_ridge_stream"}
    assert rows["contrast_ridge"].edited["attention"][0] > 0
    assert rows["contrast_ridge"].edited["stream"][0] == 0
    assert rows["contrast_ridge_stream"].edited["stream"][0] > 0


def test_nearest_donor_layer_of_the_path_stands_for_a_target_layer():
    distance = ((0.1, 0.3, 0.9), (0.5, 0.2, 0.1))
    path = ((0, 0), (0, 1), (1, 1), (1, 2))
    alignment = SimpleNamespace(fingerprint_distance=distance, fingerprint_path=path)
    assert warped_pairs(alignment) == [(0, 0), (1, 2)]


def test_no_method_gets_the_targets_own_directions_before_the_seal(made):
    found = made(evaluate={"baselines": []})
    bridge = bridge_of(found).with_native({"native": torch.eye(3, 40)}, range(3))
    for method in METHODS.values():
        if method.reads_labels:
            with pytest.raises(PromptError, match="before the transfer is final"):
                bridge.hand_to(method)
        else:
            with pytest.raises(PromptError, match="does not say so"):
                _ = bridge.hand_to(method).native
    found.study.ledger.seal({})
    for method in METHODS.values():
        handed = bridge.hand_to(method)
        if method.reads_labels:
            assert set(handed.native) == {"native"}
        else:
            with pytest.raises(PromptError, match="does not say so"):
                _ = handed.native


def test_a_baseline_of_ones_own_is_fitted_and_planned(made, monkeypatch):
    def backwards(bridge, pair):
        moved = METHODS["least_squares"].move(bridge, pair)
        return replace(moved, direction=-moved.direction)

    own = Method("backwards", "baseline", "least squares, turned round", move=backwards)
    monkeypatch.setitem(METHODS, "backwards", own)
    found = made(evaluate={"baselines": ["least_squares", "backwards"]})
    planned, reasons = plan(found)
    assert reasons == {}
    assert torch.equal(planned["backwards"].directions, -planned["least_squares"].directions)
