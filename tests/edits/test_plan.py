"""Which layers are edited, and whose direction each gets."""

from __future__ import annotations

import pytest

from conceptbasis.config.transfer import ReplaySection
from conceptbasis.edits.plan import edited_layers, plan_layers, surest_layer
from conceptbasis.errors import InterventionError
from conceptbasis.results.layers import LayerPlan

SINGLE = ReplaySection(directions="single", early_fraction=0.8)
OWN = ReplaySection(directions="per_layer", early_fraction=0.8)
AGREEMENTS = {2: 0.50, 4: 0.70, 5: 0.60, 7: 0.90}


@pytest.mark.parametrize(
    ("agreements", "layer"),
    [
        (AGREEMENTS, 5),  # sure enough, and deeper
        ({2: 0.50, 4: 0.70, 5: 0.50, 7: 0.90}, 4),  # deeper, but unsure
        ({2: 0.50, 5: 0.10, 7: 0.90}, 2),
        ({6: 0.80, 7: 0.90}, 7),  # nothing below 0.8 L
        ({3: -0.40, 4: -0.45, 5: -0.9}, 4),
    ],
)
def test_the_deepest_of_the_surest_layers_below_the_fraction_is_taken(agreements, layer):
    assert surest_layer(agreements, 0.8, 8) == layer
    assert plan_layers(agreements, SINGLE, 8) == LayerPlan.single(agreements, layer)


def test_per_layer_each_layer_has_its_own_direction():
    plan = plan_layers(AGREEMENTS, OWN, 8)
    assert plan == LayerPlan.per_layer(AGREEMENTS)
    assert plan.shared is None


def test_the_direction_of_the_single_layer_is_used_at_every_layer():
    plan = plan_layers(AGREEMENTS, SINGLE, 8)
    assert plan.source == ((2, 5), (4, 5), (5, 5), (7, 5))


def test_the_single_direction_may_be_of_a_layer_that_is_not_edited():
    last = SINGLE.model_copy(update={"layers": "last"})
    assert plan_layers(AGREEMENTS, last, 8).source == ((7, 5),)


def test_layers_that_are_edited_already_stay():
    assert plan_layers(AGREEMENTS, SINGLE, 8, edited=[2, 4]).source == ((2, 5), (4, 5))
    assert plan_layers(AGREEMENTS, OWN, 8, edited=[4, 7, 9]).source == ((4, 4), (7, 7))


@pytest.mark.parametrize("section", [SINGLE, OWN])
def test_layers_that_are_not_sure_enough_are_not_edited(section):
    sure = section.model_copy(update={"min_agreement": 0.6})
    plan = plan_layers(AGREEMENTS, sure, 8)
    assert plan.layers == (4, 5, 7)  # 0.6 itself is enough
    assert plan_layers(AGREEMENTS, section, 8).layers == (2, 4, 5, 7)
    # Layers that are edited already were chosen by the transfer's own agreement.
    assert plan_layers(AGREEMENTS, sure, 8, edited=[2, 4]).layers == (2, 4)


def test_no_sure_layer_is_an_error_that_names_the_best():
    sure = OWN.model_copy(update={"min_agreement": 0.95})
    with pytest.raises(InterventionError, match=r"the best is 0\.90 at layer 7"):
        plan_layers(AGREEMENTS, sure, 8)


def test_nothing_to_edit_is_an_error():
    early = OWN.model_copy(update={"layers": "early"})
    with pytest.raises(InterventionError, match="is edited by this transfer"):
        plan_layers({6: 0.8, 7: 0.9}, early, 8)


@pytest.mark.parametrize(
    ("which", "n_layers", "expected"),
    [
        ("all", 5, [0, 1, 2, 3, 4]),
        ("early", 5, [0, 1, 2, 3]),
        ("early", 3, [0, 1]),
        ("last", 5, [4]),
        ("last", 6, []),
    ],
)
def test_the_layers_of_the_settings_are_edited(which, n_layers, expected):
    section = ReplaySection(layers=which)
    assert edited_layers(section, list(range(min(n_layers, 5))), n_layers, 2) == expected


def test_raising_begins_at_the_layer_whose_direction_is_used():
    section = ReplaySection(mode="raise", gamma=-1.0)
    assert edited_layers(section, range(6), 6, 3) == [3, 4, 5]
    assert edited_layers(section, range(6), 6, None) == [0, 1, 2, 3, 4, 5]
    early = section.model_copy(update={"layers": "early"})
    assert edited_layers(early, range(6), 6, 2) == [2, 3]
    agreements = {0: 0.1, 1: 0.2, 2: 0.9, 3: 0.9, 4: 0.1, 5: 0.1}
    raised = section.model_copy(update={"directions": "single"})
    assert plan_layers(agreements, raised, 6) == LayerPlan.single([3, 4, 5], 3)
