"""A map of residuals with one hidden layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Moved

if TYPE_CHECKING:
    from conceptbasis.core.directions.relu_map import Sites
    from conceptbasis.methods.bridge import Bridge
    from conceptbasis.results.layers import LayerPair


def relu_map(bridge: Bridge, pair: LayerPair) -> Moved:
    """Mean of the map over positive less that over negative donor prompts.

    Prompts are mapped before they are averaged, because a map that is not affine was never trained
    on means.
    """
    from conceptbasis.core.directions.rebuild import dense_rebuilt
    from conceptbasis.core.directions.relu_map import fit_relu_map

    target, donor = pair
    fitted, heldout = (_sites(bridge, pair, split) for split in ("fit", "select"))
    mapped = fit_relu_map(fitted, heldout, generator=bridge.generator("relu_map", target))
    positive, negative = (
        mapped(side[donor]).double().mean(0)
        for side in (bridge.direction.positive, bridge.direction.negative)
    )
    rebuilt = dense_rebuilt(positive - negative)
    choice = bridge.rebuilder.fixed(rebuilt, pair, bridge.direction.per_layer[donor])
    details = {"heldout_error": mapped.error, "steps": float(mapped.n_steps)}
    return replace(Moved.of(pair, choice), details=details)


def _sites(bridge: Bridge, pair: LayerPair, split: str) -> Sites:
    from conceptbasis.core.directions.relu_map import Sites

    sites, rows = bridge.sites, bridge.sites.rows(split)
    return Sites(
        sites.residuals("donor", pair[1])[rows],
        sites.residuals("target", pair[0])[rows],
        bridge.rebuilder.site_weights(split),
    )


RELU_MAP = Method(
    "relu_map",
    "baseline",
    "map of residuals with one ReLU layer",
    move=relu_map,
    by_default=False,
    at_equal_damage=True,
    source="Oozeer et al. 2025 (2503.04429)",
)
