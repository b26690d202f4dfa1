"""Interventions: what each mode does, what is edited, and that the model is restored to the bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import Steps

from conceptbasis.config.budgets import benign_classes, request_classes
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
    edits_of,
    intervention_of,
)
from conceptbasis.edits.planning import plan_intervention
from conceptbasis.errors import ArtifactError, InterventionError
from conceptbasis.models.stream.hooks import edit_function
from conceptbasis.models.stream.native import end_activations
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.layers import LayerPlan

PROMPTS = ["what is a rose ?", "tell me where opium is .", "translate plum into dorvish ."]


def directions(d_model: int, n: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=1, keepdim=True)


def plan(side, layers, **changes) -> Intervention:
    """An intervention on random directions with means and amounts that are not zero."""
    d_model = side.loaded.architecture.d_model
    base = Intervention(
        LayerPlan.per_layer(layers),
        directions(d_model, len(layers)),
        means=directions(d_model, len(layers), seed=1),
        amounts=(2.0,) * len(layers),
        gates=directions(d_model, len(layers), seed=2),
        thresholds=(-0.5,) * len(layers),
    )
    return replace(base, **changes)


def logits(side) -> torch.Tensor:
    return first_token_logits(side.loaded, PROMPTS)


MODES = [
    {"mode": "ablate"},
    {"mode": "ablate", "scope": "writers"},
    {"mode": "affine"},
    {"mode": "cap"},
    {"mode": "add"},
    {"mode": "raise", "gamma": -1.0},
    {"mode": "orthogonalise", "scope": "writers"},
    {"mode": "orthogonalise", "scope": "writers", "gamma": 2.0},
    {"mode": "orthogonalise", "scope": "writers", "which": "attention"},
]


@pytest.mark.parametrize("mode", MODES, ids=lambda m: "-".join(str(v) for v in m.values()))
@pytest.mark.parametrize("name", ["donor", "target"])
def test_model_changes_inside_and_is_restored_to_the_bit(sides, name, mode):
    side = getattr(sides, name)
    state = {k: v.clone() for k, v in side.loaded.model.state_dict().items()}
    before = logits(side)
    with apply_intervention(side.loaded, plan(side, [0, 1, 2], **mode)):
        inside = logits(side)
    assert (inside - before).abs().max() > 1e-3
    assert torch.equal(logits(side), before)
    after = side.loaded.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in state.items())


def test_model_is_restored_when_the_work_inside_fails(sides):
    before = logits(sides.target)
    for mode in MODES:
        with (
            pytest.raises(ValueError, match="inside"),
            apply_intervention(sides.target.loaded, plan(sides.target, [1], **mode)),
        ):
            raise ValueError("inside")
        assert torch.equal(logits(sides.target), before)


# Modes


def projections(side, r: torch.Tensor, layer: int) -> torch.Tensor:
    return end_activations(side.loaded, PROMPTS)[-1, layer] @ r


def test_ablate_leaves_no_component_and_other_layers_keep_theirs(sides):
    intervention = plan(sides.target, [1])
    r = intervention.directions[0]
    before = projections(sides.target, r, 0)
    with apply_intervention(sides.target.loaded, intervention):
        assert projections(sides.target, r, 1).abs().max() < 1e-5
        assert torch.equal(projections(sides.target, r, 0), before)
        assert projections(sides.target, r, 2).abs().max() > 1e-3
    assert before.abs().max() > 1e-3


@pytest.mark.parametrize("alpha", [-3.0, -0.5, 0.5, 3.0])
def test_add_moves_the_projection_by_its_amount(sides, alpha):
    intervention = plan(sides.target, [1], mode="add", amounts=(alpha,))
    r = intervention.directions[0]
    before = projections(sides.target, r, 1)
    with apply_intervention(sides.target.loaded, intervention):
        moved = projections(sides.target, r, 1) - before
    assert torch.allclose(moved, torch.full_like(moved, alpha), atol=1e-4)


def test_affine_puts_the_projection_on_the_mean(sides):
    intervention = plan(sides.target, [1], mode="affine")
    r = intervention.directions[0]
    with apply_intervention(sides.target.loaded, intervention):
        found = projections(sides.target, r, 1)
    expected = float(intervention.means[0] @ r)
    assert torch.allclose(found, torch.full_like(found, expected), atol=1e-5)
    assert abs(expected) > 0.05


def test_affine_without_means_is_an_error(sides):
    with (
        pytest.raises(InterventionError, match="affine without benign means"),
        apply_intervention(sides.target.loaded, plan(sides.target, [1], mode="affine", means=None)),
    ):
        pass


def test_raise_without_gates_is_an_error(sides):
    with (
        pytest.raises(InterventionError, match="raise without gates"),
        apply_intervention(sides.target.loaded, plan(sides.target, [1], mode="raise", gates=None)),
    ):
        pass


# Planned on benign text


@pytest.fixture
def sites(make_study):
    return Steps(make_study(budget="B1")).sites


def along(sites, layers, rows, section, means=None) -> Intervention:
    """Planned with a direction of its own for each layer."""
    by_layer = dict(zip(layers, rows, strict=True))
    return plan_intervention(sites, LayerPlan.per_layer(layers), by_layer, section, means)


def test_plan_measures_means_and_amounts_on_benign_report_sites(sites):
    r = directions(40, 2)
    section = ReplaySection(mode="add", alpha=-4.0)
    planned = along(sites, [0, 2], r, section)
    benign = torch.tensor([t.text_class in benign_classes() for t in sites.texts])
    assert not benign.all()
    rows = sites.rows("report")
    asked = torch.tensor([t.text_class in request_classes() for t in sites.texts])
    ends = rows[asked[sites.text[rows]] & sites.end_of_prompt[rows]]
    rows = rows[benign[sites.text[rows]]]
    assert 0 < len(ends) < len(rows)
    for i, layer in enumerate((0, 2)):
        x = sites.residuals("target", layer)
        assert torch.allclose(planned.means[i].double(), x[ends].double().mean(0), atol=1e-5)
        x = x[rows].double()
        assert not torch.allclose(planned.means[i].double(), x.mean(0), atol=1e-2)
        assert planned.amounts[i] == pytest.approx(-4.0 * float((x @ r[i].double()).std()), 1e-4)
    stronger = along(sites, [0, 2], r, section.model_copy(update={"alpha": 4.0}))
    assert stronger.amounts == pytest.approx([-a for a in planned.amounts])


def test_affine_keeps_the_benign_mean(sites, sides):
    r = directions(40, 1)
    planned = along(sites, [1], r, ReplaySection(mode="affine"))
    x = sites.residuals("target", 1)
    edited = x - (x @ r[0])[:, None] * r[0] + (planned.means[0] @ r[0]) * r[0]
    assert torch.allclose((edited @ r[0]), (planned.means[0] @ r[0]).expand(len(x)), atol=1e-4)
    assert float((planned.means[0] @ r[0]).abs()) > 1e-3


def test_cap_takes_no_other_sign():
    for gamma in (0.0, -1.0):
        with pytest.raises(ValueError, match="mode cap removes"):
            ReplaySection(mode="cap", gamma=gamma)


def test_cap_lies_at_the_mean_of_affine(sites):
    r = directions(40, 1)
    affine, cap = (along(sites, [1], r, ReplaySection(mode=mode)) for mode in ("affine", "cap"))
    assert torch.equal(affine.means, cap.means)


def test_cap_can_read_ends_and_all_positions_alike(sites, sides):
    r = directions(40, 2)
    section = ReplaySection(mode="cap", centre="both", offset=0.0)
    planned = along(sites, [0, 1], r, section)
    further = along(sites, [0, 1], r, section.model_copy(update={"offset": 0.5}))
    for i, layer in enumerate((0, 1)):
        w, mean = planned.gates[i], planned.means[i]
        everywhere = sites.centre(layer, "all")
        assert float(w @ everywhere) == pytest.approx(float(w @ mean), abs=1e-4)
        assert abs(float(r[i] @ (everywhere - mean))) > 1e-3
        spread = float((sites.reported_ends(layer) @ w).std())
        assert float(w @ (mean - further.means[i])) == pytest.approx(0.5 * spread, rel=1e-3)
        x = sites.residuals("target", layer)
        edit = replace(edits_of(planned)[i], max_norm=None)
        moved = edit_function(edit, sides.target.loaded.architecture)(x)
        above = (x - mean) @ w > 0
        assert 0 < int(above.sum()) < len(x)
        assert torch.equal(moved[~above], x[~above])
        torch.testing.assert_close(
            moved[above] @ w, (mean @ w).expand(int(above.sum())), atol=1e-3, rtol=1e-3
        )
    with pytest.raises(ValueError, match="both is for mode cap"):
        ReplaySection(centre="both")


@pytest.mark.parametrize(("gamma", "moved"), [(1.0, True), (-1.0, False)])
def test_removal_goes_on_by_the_offset_and_strengthening_does_not(sites, gamma, moved):
    r = directions(40, 2)
    plain, further = (
        along(sites, [0, 1], r, ReplaySection(offset=offset, gamma=gamma)) for offset in (0.0, 0.5)
    )
    for layer in (0, 1):
        reading = sites.reported_ends(layer) @ r[layer]
        shift = (plain.means[layer] - further.means[layer]) @ r[layer]
        assert float(shift) == pytest.approx(0.5 * float(reading.std()) if moved else 0, rel=1e-3)
        assert float(plain.means[layer] @ r[layer]) == pytest.approx(
            float(reading.mean()), rel=1e-3
        )


def test_a_single_direction_is_planned_at_every_layer_and_keeps_its_source(sites):
    r = directions(40, 1)[0]
    plan = LayerPlan.single([0, 2], 1)
    planned = plan_intervention(sites, plan, {1: r}, ReplaySection())
    assert planned.plan == plan
    assert planned.layers == (0, 2)
    assert torch.equal(planned.directions, r.expand(2, 40))


def test_means_of_ones_own_stand_where_they_are_given(sites):
    r, own = directions(40, 2), directions(40, 2, seed=3)
    section = ReplaySection(mode="affine", offset=0.0)
    planned = along(sites, [0, 2], r, section, means={2: own[1], 0: own[0]})
    assert torch.equal(planned.means, own)


# Layers


def test_restriction_keeps_each_layers_own_values(sides):
    whole = plan(sides.target, [0, 1, 2], amounts=(1.0, 2.0, 3.0))
    kept = whole.restrict([2, 0, 7])
    assert kept.layers == (0, 2)
    assert torch.equal(kept.directions, whole.directions[[0, 2]])
    assert torch.equal(kept.means, whole.means[[0, 2]])
    assert kept.amounts == (1.0, 3.0)
    assert torch.equal(kept.gates, whole.gates[[0, 2]])
    assert len(kept.thresholds) == 2


def test_nothing_edited_is_an_error(sides):
    whole = plan(sides.target, [0, 1])
    with pytest.raises(InterventionError, match=r"none of the layers \[2\] is edited") as caught:
        whole.restrict([2])
    assert "[0, 1]" in caught.value.expected
    empty = Intervention(LayerPlan(()), torch.zeros(0, 40))
    for mode in ("ablate", "orthogonalise"):
        with (
            pytest.raises(InterventionError),
            apply_intervention(sides.target.loaded, replace(empty, mode=mode)),
        ):
            pass


def test_layer_that_the_model_lacks_is_an_error(sides):
    with (
        pytest.raises(InterventionError),
        apply_intervention(sides.target.loaded, plan(sides.target, [1, 9])),
    ):
        pass


def test_direction_of_another_width_or_without_length_is_an_error(sides):
    for bad in (directions(48, 1), torch.zeros(1, 40), torch.full((1, 40), float("nan"))):
        with (
            pytest.raises(InterventionError),
            apply_intervention(sides.target.loaded, Intervention(LayerPlan.per_layer([1]), bad)),
        ):
            pass


# Weight edits


def test_weight_edit_covers_every_expert_of_the_mixture(sides):
    whole = plan(sides.target, [0, 1, 2], mode="orthogonalise", scope="writers")
    with apply_intervention(sides.target.loaded, whole) as report:
        assert report.experts == (12, 12)
        assert report.attention == (3, 3)
        assert "12/12 experts" in str(report)
        for layer, r in enumerate(whole.directions):
            experts = sides.target.loaded.model.model.layers[layer].mlp.experts.down_proj
            assert torch.einsum("d,edf->ef", r, experts).abs().max() < 1e-5
    experts = sides.target.loaded.model.model.layers[0].mlp.experts.down_proj
    assert torch.einsum("d,edf->ef", whole.directions[0], experts).abs().max() > 1e-2


def test_attention_only_leaves_experts_alone(sides):
    part = plan(sides.target, [1], mode="orthogonalise", scope="writers", which="attention")
    before = sides.target.loaded.model.model.layers[1].mlp.experts.down_proj.clone()
    with apply_intervention(sides.target.loaded, part) as report:
        assert (report.attention, report.experts) == ((1, 3), (0, 12))
        now = sides.target.loaded.model.model.layers[1].mlp.experts.down_proj
        assert torch.equal(now, before)


@pytest.mark.parametrize("name", ["donor", "target"])
def test_weight_edit_equals_hooks_on_what_writers_add(sides, name):
    side = getattr(sides, name)
    layers = range(side.n_layers)
    by_weights = plan(side, layers, mode="orthogonalise", scope="writers")
    by_hooks = plan(side, layers, mode="ablate", scope="writers")
    found = []
    for intervention in (by_weights, by_hooks, plan(side, layers, mode="ablate")):
        with apply_intervention(side.loaded, intervention):
            found.append(logits(side))
    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert not torch.allclose(found[0], found[2], atol=1e-2)


# From a run


def test_finished_run_gives_its_intervention(finished, sides):
    replayed = load_replayed(finished.folder)
    intervention = intervention_of(replayed)
    assert intervention.plan == replayed.plan == finished.summary.plan
    assert intervention.directions.norm(dim=1) == pytest.approx(1, abs=1e-5)
    with apply_intervention(sides.target.loaded, intervention) as report:
        assert report.stream == replayed.edited["stream"]


def test_run_without_a_replay_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="is missing"):
        load_replayed(tmp_path)
