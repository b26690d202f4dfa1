"""Halves of the donor's prompts: what is the behavior stays, what is a shuffled label does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import Steps

from conceptbasis.core.directions.stability import split_halves
from conceptbasis.interpret.halves import FIGURES, compare_splits
from conceptbasis.results.recipe import Transfer
from conceptbasis.stages.stability import STABILITY
from conceptbasis.study.recipes import recipe_of
from conceptbasis.study.study import noun_clusters


@pytest.fixture(scope="module")
def steps(ready, sides, tmp_path_factory):
    from micro import QUIET

    from conceptbasis.study.ledger import Ledger
    from conceptbasis.study.study import Study

    config, folder = ready.config(), tmp_path_factory.mktemp("stability") / "run"
    ledger = Ledger(config.budget)
    return Steps(Study(folder, config, sides.donor, sides.target, ready.suite, ledger, QUIET))


@pytest.fixture(scope="module")
def given(steps):
    return [steps.get(kind) for kind in STABILITY.needs]


def splits_of(study, n=4):
    groups = [noun_clusters(study.prompts(role)) for role in ("positive", "negative")]
    return [tuple(split_halves(g, study.generator("a test", i)) for g in groups) for i in range(n)]


def mean_of(found, figure):
    return sum(f[figure] for f in found) / len(found)


def test_halves_of_the_prompts_agree_and_halves_of_shuffled_labels_do_not(steps):
    study, pair = steps.study, steps.alignment.layer_map[-1]
    splits, donor = splits_of(study), pair[1]
    true = compare_splits(steps.rebuilder, steps.direction, "code_map", pair, splits)
    rows = torch.cat([steps.direction.positive, steps.direction.negative], dim=1)
    rows = rows[:, torch.randperm(rows.shape[1], generator=study.generator("a test"))]
    n = steps.direction.positive.shape[1]
    shuffled = replace(steps.direction, positive=rows[:, :n], negative=rows[:, n:])
    other = compare_splits(steps.rebuilder, shuffled, "code_map", pair, splits)
    assert len(true) == len(splits)
    assert rows.shape[0] > donor
    assert mean_of(true, "donor_cosine") > 0.8
    assert mean_of(true, "target_cosine") > 0.8
    assert abs(mean_of(other, "donor_cosine")) < 0.5
    assert mean_of(other, "target_cosine") < mean_of(true, "target_cosine") - 0.2


def test_a_half_against_itself_is_the_same(steps):
    pair = steps.alignment.layer_map[0]
    ((first, _), (other, _)), *_ = splits_of(steps.study)
    same = ((first, first), (other, other))
    route = (steps.rebuilder, steps.direction, "code_map")
    (found,) = compare_splits(*route, pair, [same])
    assert found == {name: pytest.approx(1.0) for name in FIGURES}


def test_moments_of_a_pair_are_kept_and_shared_by_its_recipes(steps):
    kept = steps.rebuilder
    for row in steps.recipes.layers:
        pair, recipe, r = (
            (row.target, row.donor),
            recipe_of(row),
            steps.direction.per_layer[row.donor],
        )
        kept.rebuild("transported", pair, recipe, r)  # fills what the next one uses
        one, other = (b.rebuild("code_map", pair, recipe, r) for b in (kept, steps.rebuilder))
        assert torch.equal(one.rebuilt.direction, other.rebuilt.direction)
        assert one.ridge == other.ridge


def test_the_stage_has_a_row_for_each_layer_and_can_be_switched_off(steps, given):
    study, transfer = steps.study, steps.get(Transfer)
    booked = study.ledger.shown
    found = STABILITY.compute(study, *given)
    assert [row.target for row in found.layers] == [row.target for row in transfer.layers]
    for halves in [*(row.halves for row in found.layers), found.all_layers]:
        for name in FIGURES:
            figure = getattr(halves, name)
            assert figure.least <= figure.mean <= figure.most <= 1
    assert study.ledger.shown == booked
    off = study.config.stability.model_copy(update={"n_splits": 0})
    assert STABILITY.wanted(study.config)
    assert not STABILITY.wanted(study.config.model_copy(update={"stability": off}))


def test_prompts_about_one_noun_cannot_be_split(steps, given):
    study = steps.study
    prompts = {
        name: tuple(replace(p, noun="theft") for p in group)
        for name, group in study.suite.prompts.items()
    }
    one = replace(study, suite=replace(study.suite, prompts=prompts))
    found = STABILITY.compute(one, *given)
    assert (found.n_splits, found.layers, found.all_layers.donor_cosine) == (0, (), None)
