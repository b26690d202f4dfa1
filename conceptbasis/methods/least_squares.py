"""A linear map of residuals from donor to target, fitted by ridge; and the same with its mean."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Moved

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge
    from conceptbasis.results.layers import LayerPair


def least_squares(bridge: Bridge, pair: LayerPair) -> Moved:
    """The direction through the map whose ridge agrees best."""
    from conceptbasis.core.directions.rebuild import rebuild_least_squares

    moments, direction = bridge.moments(pair), bridge.direction
    choice = bridge.rebuilder.choose(
        pair,
        direction.per_layer[pair[1]],
        lambda ridge: rebuild_least_squares(
            direction.differences[pair[1]], moments, strength=ridge
        ),
    )
    return Moved.of(pair, choice)


def affine(bridge: Bridge, pair: LayerPair) -> Moved:
    """The same direction; the map's intercept also moves the mean of the donor's negative prompts.

    What differs is the replay, which sets the component along the direction to that of the moved
    mean.
    """
    from conceptbasis.core.directions.mappers import fit_affine_map

    moved = least_squares(bridge, pair)
    assert moved.ridge is not None
    mapped = fit_affine_map(bridge.moments(pair), strength=moved.ridge)
    benign = bridge.direction.negative[pair[1]].double().mean(0)
    return replace(moved, mean=mapped(benign).float())


LEAST_SQUARES = Method(
    "least_squares",
    "baseline",
    "least-squares map of residuals",
    move=least_squares,
    at_equal_damage=True,
    source="Bello et al. 2025 (2506.00653); 2501.02009",
)

AFFINE = Method(
    "affine",
    "baseline",
    "affine map of residuals",
    move=affine,
    form={"mode": "affine"},
    at_equal_damage=True,
    source="Marshall et al. 2024 (2411.09003)",
)
