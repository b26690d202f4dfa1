"""Which layers are edited, and whose direction each gets.

The map is less sure at early layers than at later ones, and an edit along a wrong direction costs
true answers at every layer it is made. With `replay.directions: single` the direction of one layer
whose map is among the surest is replayed at all of them, as a model's own single direction is
(Arditi et al. 2024, section 2.4). With `per_layer` and `replay.min_agreement` each layer that is
sure enough keeps its own, and the others are not edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conceptbasis.config.run import ReplaySection
from conceptbasis.errors import InterventionError
from conceptbasis.results.layers import LayerPlan

PLAN_KEYS = ("directions", "layers", "mode", "early_fraction", "min_agreement")
"""Settings of `replay` that shape a plan."""

NEARLY = 0.05
"""Agreements less than this share below another count as no worse: their intervals overlap."""

_SURE = 0.25
"""A layer whose agreement is less than this share below the best is sure enough to speak for all.
The share is large because early donor layers agree more about words than about the decision."""


def plan_layers(
    agreements: Mapping[int, float],
    section: ReplaySection,
    n_layers: int,
    *,
    edited: Sequence[int] | None = None,
) -> LayerPlan:
    """The plan that the settings make of directions at some layers.

    Args:
        agreements: Projection agreement of each layer that has a direction.
        section: Whether one direction is used, and which layers are edited.
        n_layers: Layers of the target.
        edited: Edited layers, where they are known already.

    Raises:
        InterventionError: if none of the layers is edited.
    """
    if edited is None:
        agreements = _sure_enough(agreements, section.min_agreement)
    if section.directions == "per_layer":
        plan = LayerPlan.per_layer(agreements)
        source = None
    else:
        source = surest_layer(agreements, section.early_fraction, n_layers)
        plan = LayerPlan.single(agreements, source)
    if edited is not None:
        return plan.restrict(edited)
    return plan.restrict(edited_layers(section, plan.layers, n_layers, source))


def _sure_enough(agreements: Mapping[int, float], bound: float) -> Mapping[int, float]:
    kept = {layer: a for layer, a in agreements.items() if a >= bound}
    if not kept:
        best = max(agreements, key=lambda layer: agreements[layer])
        raise InterventionError(
            f"no layer's projection agreement reaches {bound:g}: "
            f"the best is {agreements[best]:.2f} at layer {best}",
            expected="a layer whose rebuilt direction orders benign text as the donor's does",
            fix="lower replay.min_agreement, or see which layers match (conceptbasis inspect)",
        )
    return kept


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


def edited_layers(
    section: ReplaySection, layers: Sequence[int], n_layers: int, source: int | None
) -> list[int]:
    """The layers that `replay.layers` leaves: all, those below 0.8 L, or the last one.

    Args:
        section: Says which.
        layers: Layers that have a direction.
        n_layers: Of the model.
        source: The layer whose direction all of them share, None where each has its own; `raise`
            begins there, since earlier layers do not tell the classes apart yet.
    """
    if section.mode == "raise" and source is not None:
        layers = [layer for layer in layers if layer >= source]
    if section.layers == "early":
        return [layer for layer in layers if layer < int(section.early_fraction * n_layers)]
    if section.layers == "last":
        return [layer for layer in layers if layer == n_layers - 1]
    return list(layers)
