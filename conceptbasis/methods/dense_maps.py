"""The baselines that map residuals: ridge, affine, one hidden layer, rotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from conceptbasis.core.directions.mappers import (
    fit_affine_map,
    fit_orthogonal_map,
    layer_at_depth,
    rebuild_by_map,
)
from conceptbasis.core.directions.rebuild import dense_rebuilt, rebuild_least_squares
from conceptbasis.core.directions.relu_map import Sites, fit_relu_map
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.methods.rebuilder import Choice, Rebuilder
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.match import LayerPair
from conceptbasis.study.study import Study


@dataclass(frozen=True)
class Moved:
    """One direction that a baseline moved.

    Args:
        pair: Target and donor layer.
        choice: The direction.
        mean: Where the map puts the donor's benign mean, for `affine`.
        details: What is worth reading about the map.
    """

    pair: LayerPair
    choice: Choice
    mean: Tensor | None = None
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass
class DenseMaps:
    """Maps of residuals at the pairs of layers that are asked for; moments are computed once."""

    study: Study
    rebuilder: Rebuilder
    direction: DonorDirection
    _moments: dict[LayerPair, StreamingMoments] = field(default_factory=dict, init=False)

    def least_squares(self, pair: LayerPair) -> Moved:
        """Ridge map of residuals (2506.00653, 2501.02009)."""
        moments, difference = self._at(pair), self.direction.differences[pair[1]]
        return Moved(
            pair,
            self.rebuilder.choose(
                pair,
                self.direction.trajectory[pair[1]],
                lambda s: rebuild_least_squares(difference, moments, strength=s),
            ),
        )

    def affine(self, pair: LayerPair) -> Moved:
        """The same map with its intercept: it also moves the mean of the donor's benign prompts.

        The direction is that of `least_squares`; what differs is the replay, which sets the
        component along it to that of the moved mean (Marshall et al. 2024, 2411.09003).
        """
        moved = self.least_squares(pair)
        strength = moved.choice.strength
        assert strength is not None
        benign = self.direction.negative[pair[1]].double().mean(0)
        mapped = fit_affine_map(self._at(pair), strength=strength)
        return replace(moved, mean=mapped(benign).float())

    def relu_map(self, pair: LayerPair) -> Moved:
        """One hidden layer: mean of f over harmful less that over harmless prompts (2503.04429).

        Prompts are mapped before they are averaged, because a map that is not affine was never
        trained on means.
        """
        target, donor = pair
        fitted, heldout = (self._sites(pair, split) for split in ("fit", "select"))
        mapped = fit_relu_map(fitted, heldout, generator=self.study.generator(70_000 + target))
        positive, negative = (
            mapped(side[donor]).double().mean(0)
            for side in (self.direction.positive, self.direction.negative)
        )
        rebuilt = dense_rebuilt(positive - negative)
        choice = self.rebuilder.fixed(rebuilt, pair, self.direction.trajectory[donor])
        return Moved(pair, choice, None, {"heldout_error": mapped.error, "steps": mapped.n_steps})

    def procrustes(self, pair: LayerPair) -> Moved:
        """Rotation of centred residuals, from the donor layer at the same relative depth."""
        layers = (self.study.target.n_layers, self.study.donor.n_layers)
        own = (pair[0], layer_at_depth(pair[0], *layers))
        mapped = fit_orthogonal_map(self._at(own))
        rebuilt = rebuild_by_map(self.direction.differences[own[1]], mapped)
        return Moved(own, self.rebuilder.fixed(rebuilt, own, self.direction.trajectory[own[1]]))

    def _at(self, pair: LayerPair) -> StreamingMoments:
        if pair not in self._moments:
            harvest = self.rebuilder.harvest
            self._moments[pair] = self.rebuilder.moments(
                harvest.residuals("donor", pair[1]), harvest.residuals("target", pair[0])
            )
        return self._moments[pair]

    def _sites(self, pair: LayerPair, split: str) -> Sites:
        harvest, rows = self.rebuilder.harvest, self.rebuilder.harvest.rows(split)
        return Sites(
            harvest.residuals("donor", pair[1])[rows],
            harvest.residuals("target", pair[0])[rows],
            self.rebuilder.site_weights(split),
        )


DENSE: Mapping[str, Callable[[DenseMaps, LayerPair], Moved]] = {
    "least_squares": DenseMaps.least_squares,
    "affine": DenseMaps.affine,
    "relu_map": DenseMaps.relu_map,
    "procrustes": DenseMaps.procrustes,
}
"""Baselines that map residuals, one direction for each mapped pair of layers."""
