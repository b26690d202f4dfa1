"""The transfer on some of its layers, and with the other choice of `replay.directions`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge

Layers = Callable[["Bridge"], Iterable[int]]


def _early(bridge: Bridge) -> Iterable[int]:
    """Where an edit cannot be mere suppression of output words."""
    return bridge.early


def _last(bridge: Bridge) -> Iterable[int]:
    return [bridge.n_layers - 1]


def some_layers(bridge: Bridge, layers: Layers) -> Iterator[Treatment]:
    """The transfer on some of its layers."""
    return Treatment(bridge.edit).on(layers(bridge))


def other_directions(
    bridge: Bridge, directions: Literal["per_layer", "single"], layers: Layers | None = None
) -> Iterator[Treatment]:
    """Each layer's own direction where the run uses one for all, or one where each has its own."""
    if directions == bridge.replay.directions:
        return iter(())
    plan = bridge.plan_of(bridge.transfer.route, directions)
    treatment = Treatment(bridge.guarded_edit(plan, bridge.transfer.by_layer()))
    return iter([treatment]) if layers is None else treatment.on(layers(bridge))


EARLY_LAYERS_ONLY, LAST_LAYER_ONLY, PER_LAYER, PER_LAYER_EARLY, SINGLE, SINGLE_EARLY = (
    Method(name, "ablation", label, plan)
    for name, label, plan in (
        (
            "early_layers_only",
            "edits below 0.8 of the depth only",
            partial(some_layers, layers=_early),
        ),
        ("last_layer_only", "edit at the last layer only", partial(some_layers, layers=_last)),
        (
            "per_layer",
            "each layer's own direction",
            partial(other_directions, directions="per_layer"),
        ),
        (
            "per_layer_early",
            "each layer's own direction, early layers only",
            partial(other_directions, directions="per_layer", layers=_early),
        ),
        (
            "single_direction",
            "one direction at all layers",
            partial(other_directions, directions="single"),
        ),
        (
            "single_direction_early",
            "one direction, early layers only",
            partial(other_directions, directions="single", layers=_early),
        ),
    )
)
