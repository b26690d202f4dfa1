"""Displaced directions: the target's own are displaced over the very layers of the transfer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from conceptbasis.methods.far_layers import far_layers, native_far
from conceptbasis.results.layers import LayerPlan


def rows(n):
    return torch.arange(n).float()[:, None].expand(n, 3)


def bridge_of(plan: LayerPlan, mapped, directions: str):
    """A bridge that says which layer's direction each edited layer would get."""

    def edit_along(plan, by_layer):
        return {layer: float(by_layer[source][0]) for layer, source in plan.source}

    return SimpleNamespace(
        edit=SimpleNamespace(plan=plan),
        replay=SimpleNamespace(directions=directions),
        native={"native_per_layer": rows(8)},
        transfer=SimpleNamespace(
            by_layer=lambda: {layer: 10 * rows(8)[layer] for layer in mapped},
            layer_map=[(layer, layer) for layer in mapped],
        ),
        edit_along=edit_along,
    )


def test_own_and_transferred_directions_come_from_the_same_layer():
    plan = LayerPlan.single((1, 2, 3, 4, 5), 5)
    bridge = bridge_of(plan, (1, 2, 3, 4, 5), "single")
    [own], [ours] = native_far(bridge), far_layers(bridge)
    assert own.edit == dict.fromkeys((1, 2, 3, 4, 5), 1.0)
    assert ours.edit == dict.fromkeys((1, 2, 3, 4, 5), 10.0)


def test_directions_of_their_own_are_displaced_among_edited_layers():
    bridge = bridge_of(LayerPlan.per_layer((2, 3)), (1, 2, 3, 4), "per_layer")
    [own] = native_far(bridge)
    assert own.edit == {2: 3.0, 3: 2.0}


def test_one_layer_cannot_be_displaced():
    for directions in ("single", "per_layer"):
        bridge = bridge_of(LayerPlan.per_layer((5,)), (5,), directions)
        assert list(native_far(bridge)) == []
        assert list(far_layers(bridge)) == []


@pytest.mark.parametrize("n", [2, 3, 5, 6, 24])
def test_a_displaced_direction_is_from_half_of_the_layers_away(n):
    far = LayerPlan.per_layer(range(n)).displaced(range(n))
    distances = [abs(layer - source) for layer, source in far.source]
    assert far.layers == tuple(range(n))
    assert all(distance >= n // 2 for distance in distances)
    assert sum(distance < n / 2 for distance in distances) == n % 2
    # The layer in the middle gets the last direction.
    assert [source for _, source in far.source] == [0 if 2 * i >= n else n - 1 for i in range(n)]
