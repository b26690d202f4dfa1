"""Which direction each edited layer gets: its own, or that of one layer at every layer.

The map is less sure at early layers than at later ones, and an edit along a wrong direction costs
true answers at every layer it is made. With `replay.directions: single` the direction of one layer
whose map is among the surest is replayed at all of them, as a model's own single direction is
(Arditi et al. 2024, section 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.transfer import ReplaySection

NEARLY = 0.05
"""Agreements less than this share below another count as no worse: their intervals overlap."""

_SURE = 0.25
"""A layer whose agreement is less than this share below the best is sure enough to speak for all.
The share is large because early donor layers agree more about words than about the decision."""


def single_layer(
    agreements: Mapping[int, float], section: ReplaySection, n_layers: int
) -> int | None:
    """The layer whose direction is used everywhere, None where each layer uses its own.

    Args:
        agreements: Projection agreement by target layer.
        section: Says whether one direction is used, and the fraction of `surest_layer`.
        n_layers: Layers of the target.
    """
    if section.directions == "per_layer":
        return None
    return surest_layer(agreements, section.early_fraction, n_layers)


def surest_layer(agreements: Mapping[int, float], early_fraction: float, n_layers: int) -> int:
    """The deepest layer below a share of the depth whose projection agreement is no outlier.

    Deeper layers have decided more, and the last ones hold the words of the answer and not its
    cause. Where nothing lies below the fraction, all layers are considered.

    Args:
        agreements: Projection agreement on benign text by target layer.
        early_fraction: The share of the depth.
        n_layers: Layers of the target.
    """
    limit = int(early_fraction * n_layers)
    candidates = {layer: a for layer, a in agreements.items() if layer < limit} or dict(agreements)
    best = max(candidates.values())
    return max(layer for layer, a in candidates.items() if a >= best - _SURE * abs(best))


def replayed_pairs(pairs: Sequence[tuple[int, int]], single: int | None) -> list[tuple[int, int]]:
    """The layer pairs whose directions are replayed: one where all layers share its direction.

    Args:
        pairs: Layer map, target layer first.
        single: The target layer whose direction all of them get, None for their own.
    """
    return [pair for pair in pairs if single is None or pair[0] == single]


def spread(
    directions: Float[Tensor, "n_layers d_model"], layers: Sequence[int], single: int | None
) -> Float[Tensor, "n_layers d_model"]:
    """The direction that each layer is edited along.

    Args:
        directions: Unit directions, one row per layer.
        layers: Their layers.
        single: The layer whose direction all of them get, None for their own. A trajectory that
            lacks it gives the nearest of its layers instead.
    """
    if single is None:
        return directions
    place = min(range(len(layers)), key=lambda i: abs(layers[i] - single))
    return directions[place : place + 1].expand_as(directions)
