"""Refusal without a concept and with it alone: two theorems, and what the stage writes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from conceptbasis.evaluation.conditions import Parts
from conceptbasis.stages.baselines import run_baselines
from conceptbasis.stages.guard import run_guard
from conceptbasis.stages.lines import LineRoute, cut_recipes, line_conditions
from conceptbasis.stages.replay import run_replay
from conceptbasis.stages.transfer import run_transfer


@pytest.fixture(scope="module", params=[None, 0.05])
def route(request, ready, sides, tmp_path_factory):
    from micro import QUIET
    from steps import steps_of

    from conceptbasis.study.ledger import Ledger
    from conceptbasis.runs.stage import Run
    from conceptbasis.study.study import Study

    config = ready.config(guard={"forced": request.param}, evaluate={"baselines": []})
    run = Run(tmp_path_factory.mktemp("lines") / "run", lambda line: None)
    study = Study(run, config, sides.donor, sides.target, ready.suite, Ledger(config.budget), QUIET)
    steps = steps_of(study)
    rebuilder = steps.rebuilder
    transfer = run_transfer(study, rebuilder, steps.recipes, steps.direction, steps.alignment)
    guarded = run_guard(study, steps.harvest, transfer)
    if request.param:  # of a width of 40
        assert (guarded.output.result["k"], guarded.output.result["share"]) == (2, 0.05)
    intervention, _ = run_replay(study, steps.harvest, guarded)
    baselines = run_baselines(study, rebuilder, steps.direction, steps.alignment)
    parts = Parts(
        study,
        steps.harvest,
        rebuilder,
        steps.direction,
        steps.alignment,
        steps.recipes,
        transfer,
        intervention,
        baselines,
        guarded,
    )
    return LineRoute(parts)


def line_of(recipes, chosen):
    """A line through these places of the recipe of every layer."""
    atoms = [
        {"target": layer, "feature": int(recipe.feature_ids[i])}
        for layer, recipe in recipes.items()
        for i in chosen(recipe)
    ]
    return {"label": "planted", "atoms": atoms}


def test_a_line_of_all_atoms_is_the_whole_transfer(route):
    recipes = route.parts.recipes.recipes
    line = line_of(recipes, lambda recipe: range(len(recipe.feature_ids)))
    _, transfer, without, only = line_conditions(route, [line], 10)
    assert without.intervention is None  # nothing is left, so nothing is edited
    assert only.intervention.layers == transfer.intervention.layers
    assert torch.allclose(only.intervention.directions, transfer.intervention.directions, atol=1e-6)


def test_a_line_that_is_not_in_the_recipe_changes_nothing(route):
    recipes = route.parts.recipes.recipes
    line = {"atoms": [{"target": layer, "feature": 10**6} for layer in recipes]}
    without, only = (route.plan(cut_recipes(recipes, line, keep=keep)) for keep in (False, True))
    assert only is None
    assert torch.allclose(without.directions, route.parts.intervention.directions, atol=1e-6)


def test_without_and_alone_share_no_atom_and_hold_all(route):
    recipes = route.parts.recipes.recipes
    line = line_of(recipes, lambda recipe: [0])
    without, only = (cut_recipes(recipes, line, keep=keep) for keep in (False, True))
    for layer, recipe in recipes.items():
        parts = [part[layer].feature_ids.tolist() for part in (only, without)]
        assert [*parts[0], *parts[1]] == recipe.feature_ids.tolist()
        assert len(parts[0]) == 1
    largest = route.plan(without).directions
    assert not torch.allclose(largest, route.parts.intervention.directions, atol=1e-3)


def test_the_stage_measures_the_largest_lines(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    assert not (finished.folder / "lines").exists()
    settings = {"n_flows": 2, "n_prompts": 12}
    again = ready.run(tmp_path / "run", curve={"measure": True}, flows=settings)
    assert again.summary == finished.summary
    found = json.loads((tmp_path / "run" / "lines" / "result.json").read_text())
    lines = json.loads((tmp_path / "run" / "atoms" / "result.json").read_text())["lines"]
    assert [row["label"] for row in found["lines"]] == [line["label"] for line in lines[:2]]
    untouched, transfer = (found[name]["refusal"] for name in ("untouched", "transfer"))
    for row in found["lines"]:
        for name, start in (("without", transfer), ("only", untouched)):
            entry = row[name]
            assert entry["refusal"]["n"] + entry["refusal"]["unscored"] == 12
            if not entry["refusal"]["unscored"] and not start["unscored"]:
                change = entry["refusal"]["rate"] - start["rate"]
                assert entry["change"]["value"] == pytest.approx(change)
            assert entry["change"]["low"] <= entry["change"]["value"] <= entry["change"]["high"]
        assert row["only"]["capability"]["arithmetic"] is None
