"""Directions of the wrong layers: does it matter that the map put each where it belongs?

Fitting the map anew at a far donor layer would only ask whether the behavior is legible there too,
and on organisms it is at every layer. Where the target's own directions still work after they were
displaced, its directions are alike at all layers, and displacing the transfer shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from conceptbasis.methods.bridge import Bridge


def far_layers(bridge: Bridge) -> Iterator[Treatment]:
    """The transferred directions, each at the layer farthest from where it belongs."""
    return displaced(bridge, bridge.transfer.by_layer())


def native_far(bridge: Bridge) -> Iterator[Treatment]:
    """The target's own directions of the transfer's layers, displaced in the same way.

    A first layer that is not mapped may not hold the behavior yet, and its direction would make
    displacing look harmless.
    """
    own = bridge.native["native_per_layer"]
    return displaced(bridge, {target: own[target] for target, _ in bridge.transfer.layer_map})


def displaced(
    bridge: Bridge, by_layer: Mapping[int, Float[Tensor, " d_target"]]
) -> Iterator[Treatment]:
    """An edit with the directions of far layers; none with fewer than two layers.

    Args:
        bridge: Gives the plan of the transfer.
        by_layer: Unit directions of the transfer's layers.
    """
    plan = bridge.edit.plan
    single = bridge.replay.directions == "single"
    available = list(by_layer) if single else [n for n in by_layer if n in plan.layers]
    if len(available) > 1:
        yield Treatment(bridge.edit_along(plan.displaced(available), by_layer))


FAR_LAYERS = Method(
    "far_layers",
    "control",
    "the transfer's directions at layers far from theirs",
    far_layers,
    checked_by="native_far",
)

NATIVE_FAR = Method(
    "native_far",
    "native",
    "the target's own directions at layers far from theirs",
    native_far,
    reads_labels=True,
)
