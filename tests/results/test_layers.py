"""Whose direction each edited layer gets: one plan, a constructor for each way to make it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from conceptbasis.errors import InterventionError
from conceptbasis.results.layers import LayerPlan

OWN = LayerPlan.per_layer([3, 1, 5])
ONE = LayerPlan.single([3, 1, 5], 3)


def test_layers_stand_in_order_with_their_sources():
    assert OWN.source == ((1, 1), (3, 3), (5, 5))
    assert ONE.source == ((1, 3), (3, 3), (5, 3))
    assert OWN.layers == ONE.layers == (1, 3, 5)
    assert (OWN.sources, ONE.sources) == ((1, 3, 5), (3,))


def test_only_a_direction_that_others_get_too_is_shared():
    assert OWN.shared is None
    assert ONE.shared == 3
    assert LayerPlan.single([1, 2], 6).shared == 6  # of a layer that is not edited itself
    assert LayerPlan.per_layer([4]).shared is None


def test_a_restriction_keeps_the_sources():
    assert OWN.restrict([5, 1, 9]) == LayerPlan.per_layer([1, 5])
    assert ONE.restrict(iter([5, 1])).source == ((1, 3), (5, 3))
    assert ONE.restrict([1]).shared == 3
    assert ONE.below(4).layers == (1, 3)
    assert OWN.below(100) == OWN


@pytest.mark.parametrize("layers", [[], [0, 2]])
def test_a_restriction_to_nothing_is_an_error(layers):
    with pytest.raises(InterventionError, match="is edited by this transfer") as caught:
        OWN.restrict(layers)
    assert caught.value.expected == "some of [1, 3, 5]"
    with pytest.raises(InterventionError):
        OWN.below(1)


def test_displaced_directions_are_the_farthest_there_are():
    assert OWN.displaced([1, 3, 5]).source == ((1, 5), (3, 5), (5, 1))  # of two, the deeper
    assert OWN.displaced(range(20)).source == ((1, 19), (3, 19), (5, 19))
    assert OWN.displaced([0, 4]).source == ((1, 4), (3, 0), (5, 0))


def test_a_displaced_single_direction_is_still_single():
    moved = ONE.displaced([0, 1, 2, 3, 4, 5, 6, 7])
    assert moved.source == ((1, 7), (3, 7), (5, 7))
    assert moved.shared == 7
    assert moved.layers == ONE.layers


def test_plans_are_values():
    assert LayerPlan.per_layer({5: 0.1, 3: 0.2, 1: 0.4}) == OWN
    with pytest.raises(FrozenInstanceError):
        OWN.source = ()  # type: ignore[misc]
