"""Random unit directions on the layers of the transfer: what any edit of this size does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge


def random_direction(bridge: Bridge) -> Iterator[Treatment]:
    """One draw after the other; one direction for all layers where the transfer has one."""
    import torch

    from conceptbasis.results.layers import LayerPlan

    layers, shared = bridge.edit.layers, bridge.edit.plan.shared
    plan = LayerPlan.per_layer(layers)
    if shared is not None:
        plan = LayerPlan.single(layers, min(layers, key=lambda layer: abs(layer - shared)))
    for draw in count():
        generator = bridge.generator("random_direction", draw)
        drawn = torch.randn(bridge.edit.directions.shape, generator=generator)
        unit = drawn / drawn.norm(dim=1, keepdim=True)
        by_layer = dict(zip(layers, unit, strict=True))
        yield Treatment(bridge.edit_along(plan, by_layer))


RANDOM_DIRECTION = Method(
    "random_direction",
    "control",
    "random directions",
    random_direction,
    draws=lambda section: section.n_random,
    at_equal_damage=True,
    compared=True,
    sets_range=True,
)
