"""Halves of the donor's prompts: what is refusal stays, what is a shuffled label does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import steps_of

from conceptbasis.core.directions.stability import split_halves
from conceptbasis.stages.stability import FIGURES, compare_splits, run_stability
from conceptbasis.stages.transfer import run_transfer
from conceptbasis.study.study import noun_clusters


@pytest.fixture(scope="module")
def steps(ready, sides, tmp_path_factory):
    from micro import QUIET

    from conceptbasis.runs.stage import Run
    from conceptbasis.study.ledger import Ledger
    from conceptbasis.study.study import Study

    config = ready.config()
    run = Run(tmp_path_factory.mktemp("stability") / "run", lambda line: None)
    study = Study(run, config, sides.donor, sides.target, ready.suite, Ledger(config.budget), QUIET)
    return steps_of(study)


def splits_of(study, n=4):
    groups = [noun_clusters(study.suite[f"direction_{c}"]) for c in ("harmful", "harmless")]
    return [tuple(split_halves(g, study.generator(i)) for g in groups) for i in range(n)]


def mean_of(found, figure):
    return sum(f[figure] for f in found) / len(found)


def test_halves_of_the_prompts_agree_and_halves_of_shuffled_labels_do_not(steps):
    study, pair = steps.study, steps.alignment.layer_map.pairs[-1]
    splits, donor = splits_of(study), pair[1]
    true = compare_splits(study, steps.rebuilder, steps.direction, "code_map", pair, splits)
    rows = torch.cat([steps.direction.positive, steps.direction.negative], dim=1)
    rows = rows[:, torch.randperm(rows.shape[1], generator=study.generator(1))]
    n = steps.direction.positive.shape[1]
    shuffled = replace(steps.direction, positive=rows[:, :n], negative=rows[:, n:])
    other = compare_splits(study, steps.rebuilder, shuffled, "code_map", pair, splits)
    assert len(true) == len(splits)
    assert rows.shape[0] > donor
    assert mean_of(true, "donor_cosine") > 0.8
    assert mean_of(true, "target_cosine") > 0.8
    assert abs(mean_of(other, "donor_cosine")) < 0.5
    assert mean_of(other, "target_cosine") < mean_of(true, "target_cosine") - 0.2


def test_a_half_against_itself_is_the_same(steps):
    pair = steps.alignment.layer_map.pairs[0]
    ((first, _), (other, _)), *_ = splits_of(steps.study)
    same = ((first, first), (other, other))
    route = (steps.study, steps.rebuilder, steps.direction, "code_map")
    (found,) = compare_splits(*route, pair, [same])
    assert found == {name: pytest.approx(1.0) for name in FIGURES}


def test_moments_of_a_pair_are_kept_and_shared_by_its_recipes(steps):
    kept = steps.rebuilder
    for pair in steps.alignment.layer_map.pairs:
        recipe, r = steps.recipes.recipes[pair[0]], steps.direction.trajectory[pair[1]]
        kept.rebuild("transported", pair, recipe, r)  # fills what the next one uses
        one, other = (b.rebuild("code_map", pair, recipe, r) for b in (kept, steps.rebuilder))
        assert torch.equal(one.rebuilt.direction, other.rebuilt.direction)
        assert one.strength == other.strength


def test_the_stage_has_a_row_for_each_layer_and_can_be_switched_off(steps):
    parts = (steps.direction, steps.alignment)
    study = steps.study
    transfer = run_transfer(study, steps.rebuilder, steps.recipes, *parts)
    booked = study.ledger.as_list()
    output = run_stability(study, steps.rebuilder, *parts, transfer)
    assert [row["target"] for row in output.result["layers"]] == list(transfer.layers)
    for row in [*output.result["layers"], output.result["all_layers"]]:
        for name in FIGURES:
            assert row[name]["least"] <= row[name]["mean"] <= row[name]["most"] <= 1
    assert study.ledger.as_list() == booked
    off = study.config.model_copy(
        update={"stability": study.config.stability.model_copy(update={"n_splits": 0})}
    )
    assert run_stability(replace(study, config=off), steps.rebuilder, *parts, transfer) is None


def test_prompts_about_one_noun_cannot_be_split(steps):
    study = steps.study
    prompts = {
        name: tuple(replace(p, noun="theft") for p in group)
        for name, group in study.suite.prompts.items()
    }
    suite = replace(study.suite, prompts=prompts)
    parts = (steps.rebuilder, steps.direction, steps.alignment)
    transfer = run_transfer(study, steps.rebuilder, steps.recipes, *parts[1:])
    assert run_stability(replace(study, suite=suite), *parts, transfer) is None
