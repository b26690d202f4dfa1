"""The neighbour effect: what goes of a known probability, near nothing for a random edit."""

from __future__ import annotations

import pytest
import torch

from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.edits.intervention import Intervention, edits_of
from conceptbasis.evaluation.proxies import neighbour_effects
from conceptbasis.models.stream.first_token import find_behavior_tokens
from conceptbasis.models.stream.hooks import intervene
from conceptbasis.models.stream.native import end_activations
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.layers import LayerPlan

LAYERS = (0, 1, 2)
N = 8


def prompts_of(study):
    concept = next(c for c in study.suite.concepts if c.budget == "B0d")
    return [[p.text for p in side][:N] for side in (concept.positive, concept.negative)]


def edit_along(direction, gamma=1.0):
    unit = direction / direction.norm()
    return Intervention(
        LayerPlan.per_layer(LAYERS), unit.expand(len(LAYERS), -1), "ablate", gamma=gamma
    )


def own_direction(study):
    declined, other = (end_activations(study.target.loaded, p)[-1] for p in prompts_of(study))
    return difference_of_means(declined[1], other[1]).unit


def probability(logits, tokens):
    return logits.double().softmax(-1)[:, tokens].sum(-1)


def test_it_is_the_share_of_the_declines_probability_that_goes(make_study):
    study = make_study(budget="B0d")
    loaded, (declined, other) = study.target.loaded, prompts_of(study)
    edit = edit_along(own_direction(study))
    before, beside = (first_token_logits(loaded, p) for p in (declined, other))
    with intervene(loaded, edits_of(edit)):
        after = first_token_logits(loaded, declined)
    tokens = find_behavior_tokens(before, beside)
    whole = probability(before, tokens).mean()
    assert whole > 2 * probability(beside, tokens).mean()
    expected = 1 - probability(after, tokens) / whole
    assert neighbour_effects(study, edit) == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_target_s_own_direction_does_much_and_a_random_one_little(make_study):
    study = make_study(budget="B0d")
    own = neighbour_effects(study, edit_along(own_direction(study)))
    noise = torch.Generator().manual_seed(0)
    random = [
        sum(neighbour_effects(study, edit_along(torch.randn(40, generator=noise)))) / N
        for _ in range(5)
    ]
    assert len(own) == N
    assert sum(own) / N > max(0.1, 20 * max(abs(effect) for effect in random))


def test_an_edit_that_does_nothing_has_no_effect(make_study):
    study = make_study(budget="B0d")
    effects = neighbour_effects(study, edit_along(own_direction(study), gamma=0.0))
    assert sum(effects) / N == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("sections", [{"budget": "B0"}, {"replay": {"gamma": -0.5}}])
def test_without_declines_or_when_the_behavior_is_strengthened_there_is_none(make_study, sections):
    study = make_study(**{"budget": "B0d", **sections})
    assert neighbour_effects(study, edit_along(torch.ones(40))) == []
