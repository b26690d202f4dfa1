"""A rotation of centred residuals, from the donor layer at the same relative depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Moved

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge
    from conceptbasis.results.layers import LayerPair


def procrustes(bridge: Bridge, pair: LayerPair) -> Moved:
    """The donor's direction rotated; the layer map is not used.

    The donor layer is the one at the same depth, or the nearest to it whose residuals were read.
    """
    from conceptbasis.core.directions.mappers import (
        fit_orthogonal_map,
        layer_at_depth,
        rebuild_by_map,
    )

    same = layer_at_depth(pair[0], bridge.n_layers, bridge.n_donor_layers)
    donor = min(bridge.sites.layers("donor"), key=lambda layer: (abs(layer - same), layer))
    own = (pair[0], donor)
    mapped = fit_orthogonal_map(bridge.moments(own))
    rebuilt = rebuild_by_map(bridge.direction.differences[donor], mapped)
    choice = bridge.rebuilder.fixed(rebuilt, own, bridge.direction.per_layer[donor])
    return Moved.of(own, choice)


PROCRUSTES = Method(
    "procrustes", "baseline", "orthogonal map of residuals", move=procrustes, at_equal_damage=True
)
