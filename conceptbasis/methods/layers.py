"""The transfer on some of its layers, and with the other choice of `replay.directions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from conceptbasis.edits.intervention import Intervention
    from conceptbasis.methods.bridge import Bridge


def early_layers(bridge: Bridge) -> Iterator[Treatment]:
    """The transfer where it cannot be mere suppression of output words."""
    return _only(bridge.edit, bridge.early)


def last_layer(bridge: Bridge) -> Iterator[Treatment]:
    """The transfer at the last layer alone."""
    return _only(bridge.edit, [bridge.n_layers - 1])


def per_layer(bridge: Bridge) -> Iterator[Treatment]:
    """Each layer's own direction, where the run uses one for all."""
    if bridge.replay.directions == "single":
        yield Treatment(_other(bridge, "per_layer"))


def per_layer_early(bridge: Bridge) -> Iterator[Treatment]:
    """The same at early layers alone."""
    if bridge.replay.directions == "single":
        yield from _only(_other(bridge, "per_layer"), bridge.early)


def single_direction(bridge: Bridge) -> Iterator[Treatment]:
    """One direction for all layers, where the run gives each its own."""
    if bridge.replay.directions == "per_layer":
        yield Treatment(_other(bridge, "single"))


def single_direction_early(bridge: Bridge) -> Iterator[Treatment]:
    """The same at early layers alone."""
    if bridge.replay.directions == "per_layer":
        yield from _only(_other(bridge, "single"), bridge.early)


def _other(bridge: Bridge, directions: Literal["per_layer", "single"]) -> Intervention:
    plan = bridge.plan_of(bridge.transfer.route, directions)
    return bridge.guarded_edit(plan, bridge.transfer.by_layer())


def _only(edit: Intervention, layers: Iterable[int]) -> Iterator[Treatment]:
    kept = set(layers) & set(edit.layers)
    if kept:
        yield Treatment(edit.restrict(kept))


EARLY_LAYERS_ONLY = Method(
    "early_layers_only", "ablation", "edits below 0.8 of the depth only", early_layers
)

LAST_LAYER_ONLY = Method("last_layer_only", "ablation", "edit at the last layer only", last_layer)

PER_LAYER = Method("per_layer", "ablation", "each layer's own direction", per_layer)

PER_LAYER_EARLY = Method(
    "per_layer_early", "ablation", "each layer's own direction, early layers only", per_layer_early
)

SINGLE_DIRECTION = Method(
    "single_direction", "ablation", "one direction at all layers", single_direction
)

SINGLE_DIRECTION_EARLY = Method(
    "single_direction_early",
    "ablation",
    "one direction, early layers only",
    single_direction_early,
)
