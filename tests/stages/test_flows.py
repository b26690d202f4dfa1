"""The behavior without a concept and with it alone: two theorems, and what the stage writes."""

from __future__ import annotations

import shutil

import pytest
import torch
from steps import Steps

from conceptbasis.evaluation.flows import cut_recipes, edit_of, flow_trials
from conceptbasis.methods.bridge import Bridge
from conceptbasis.results.atoms import Atoms, Flow, FlowAtom, FlowEffects
from conceptbasis.results.edit import Guarded, Replayed
from conceptbasis.runs.storage import read_result
from conceptbasis.study.ledger import Ledger
from conceptbasis.study.study import Study


@pytest.fixture(scope="module", params=[None, 0.05])
def bridge(request, ready, sides, tmp_path_factory):
    from micro import QUIET

    config = ready.config(guard={"forced": request.param}, evaluate={"baselines": []})
    folder = tmp_path_factory.mktemp("flows") / "run"
    ledger = Ledger(config.budget)
    study = Study(folder, config, sides.donor, sides.target, ready.suite, ledger, QUIET)
    steps = Steps(study)
    steps.get(Replayed)
    if request.param:  # of a width of 40
        guarded = steps.get(Guarded)
        assert (guarded.k, guarded.share) == (2, 0.05)
    return Bridge.of(study, *(done.result for done in steps.graph.done.values()))


def flow_of(latents):
    """A flow through these latents by layer."""
    atoms = [
        FlowAtom(layer, 0, int(latent), 1.0, None)
        for layer, chosen in latents.items()
        for latent in chosen
    ]
    return Flow("planted", 1.0, tuple(atoms))


def test_a_flow_of_all_atoms_is_the_whole_transfer(bridge):
    flow = flow_of({layer: recipe.feature_ids for layer, recipe in bridge.recipes.items()})
    _, transfer, without, only = (t.treatment.edit for t in flow_trials(bridge, [flow], 10))
    assert without is None  # nothing is left, so nothing is edited
    assert only.layers == transfer.layers
    assert torch.allclose(only.directions, transfer.directions, atol=1e-6)


def test_a_flow_that_is_not_in_the_recipe_changes_nothing(bridge):
    flow = flow_of({layer: [10**6] for layer in bridge.recipes})
    without, only = (
        edit_of(bridge, cut_recipes(bridge.recipes, flow, keep=keep)) for keep in (False, True)
    )
    assert only is None
    assert torch.allclose(without.directions, bridge.edit.directions, atol=1e-6)


def test_without_and_alone_share_no_atom_and_hold_all(bridge):
    recipes = bridge.recipes
    flow = flow_of({layer: recipe.feature_ids[:1] for layer, recipe in recipes.items()})
    without, only = (cut_recipes(recipes, flow, keep=keep) for keep in (False, True))
    for layer, recipe in recipes.items():
        parts = [part[layer].feature_ids.tolist() for part in (only, without)]
        assert [*parts[0], *parts[1]] == recipe.feature_ids.tolist()
        assert len(parts[0]) == 1
    largest = edit_of(bridge, without).directions
    assert not torch.allclose(largest, bridge.edit.directions, atol=1e-3)


def test_the_stage_measures_the_largest_flows(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    assert not (finished.folder / "flows").exists()
    settings = {"n_flows": 2, "n_prompts": 12}
    before = (finished.folder / "summary.json").read_bytes()
    ready.run(tmp_path / "run", curve={"measure": True}, flows=settings)
    assert (tmp_path / "run" / "summary.json").read_bytes() == before
    found = read_result(tmp_path / "run" / "flows", FlowEffects)
    flows = read_result(tmp_path / "run" / "atoms", Atoms).flows
    assert [row.label for row in found.flows] == [flow.label for flow in flows[:2]]
    for row in found.flows:
        for effect, start in ((row.without, found.transfer), (row.only, found.untouched)):
            rate, before = effect.figures.rate, start.rate
            assert (rate.interval.n if rate.interval else 0) + rate.unscored == 12
            if not rate.unscored and not before.unscored:
                change = rate.interval.value - before.interval.value
                assert effect.change.value == pytest.approx(change)
            assert effect.change.low <= effect.change.value <= effect.change.high
        assert row.only.figures.capability["arithmetic"] is None
        assert row.only.figures.spillover["mentions"] is None
