"""The one way from a donor's recipe to a direction of the target, by route and layer pair.

The maps are fitted where the direction is read: the sites at the end of a prompt hold most of the
weight. The ridge is the one whose rebuilt direction agrees best with the donor's direction
on such sites that were not used for fitting (projection agreement).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from conceptbasis.core.directions.rebuild import (
    Rebuilt,
    rebuild_code_map,
    rebuild_matched,
    rebuild_transported,
)
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.directions.sparing import BenignSpread, spare_benign
from conceptbasis.core.features.matches import Matches
from conceptbasis.core.features.partners import CodePair, feature_stats
from conceptbasis.core.layers.similarity import projection_agreement
from conceptbasis.core.statistics.batches import Batch, select_rows
from conceptbasis.core.statistics.intervals import Interval, bootstrap_correlation
from conceptbasis.core.statistics.moments import StreamingMoments, moments_bytes
from conceptbasis.models.loading.memory import DENSE_ROWS, SHARED_MOMENTS
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.results.layers import LayerPair
from conceptbasis.results.matching import MatchSet
from conceptbasis.study.codes import Codes, code_pair
from conceptbasis.study.recipes import matches_by_pair
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study
from conceptbasis.study.weights import SiteWeights

ROUTES = ("code_map", "transported", "matched")
"""Matched codes to codes and then to what the target's latents write; matched codes straight to
residuals; decoder rows of the matched latents."""

_AS_GOOD = 0.05
"""Ridges whose agreement is less than this share below the best are as good: about half
the width of the agreement's interval over texts, and five times what bfloat16 moves it by. A weak
one is taken, since a strong one turns every direction towards where the target's prompts differ
most."""


@dataclass(frozen=True)
class Choice:
    """A rebuilt direction with the ridge that was chosen for it and its agreement.

    Args:
        rebuilt: The direction.
        ridge: Chosen ridge, None where there is none to choose.
        selection: Projection agreement on the sites that layers and routes are chosen on.
        agreement: The same on sites that nothing was chosen on.
        by_ridge: Agreement of each ridge on the sites of the choice.
    """

    rebuilt: Rebuilt
    ridge: float | None
    selection: float
    agreement: float
    by_ridge: Mapping[float, float]


@dataclass
class Rebuilder:
    """Rebuilds donor recipes in the target, for transfer, proxies and controls alike."""

    study: Study
    sites: Sites
    codes: Codes
    matches: Mapping[LayerPair, Matches]
    weigh: SiteWeights
    _moments: dict[tuple[str, LayerPair], StreamingMoments] = field(
        default_factory=dict, init=False
    )
    _spreads: dict[int, BenignSpread] = field(default_factory=dict, init=False)

    @classmethod
    def of(
        cls, study: Study, harvest: Harvest, direction: DonorDirection, matches: MatchSet
    ) -> Rebuilder:
        """The rebuilder of a study, from the results of its stages."""
        return cls(
            study,
            study.sites(harvest),
            study.codes(harvest),
            matches_by_pair(matches),
            study.weights(harvest, direction),
        )

    def rebuild(
        self, route: str, pair: LayerPair, recipe: Recipe, direction: Float[Tensor, " d_donor"]
    ) -> Choice:
        """Rebuilds one recipe at one layer pair by one route, and spares benign variance.

        Agreement is that of the direction before it is turned away from benign variance.

        Args:
            route: One of `ROUTES`.
            pair: Target and donor layer.
            recipe: The donor's recipe, of matched latents.
            direction: The donor direction that agreement is measured against.
        """
        choice = self._rebuild(route, pair, recipe, direction)
        cosine = self.study.config.transfer.benign_cosine
        if cosine >= 1:
            return choice
        spared = spare_benign(choice.rebuilt, self._benign_spread(pair[0]), cosine=cosine)
        return replace(choice, rebuilt=spared)

    def _benign_spread(self, layer: int) -> BenignSpread:
        """Of one layer at a time, as with `_between`."""
        if layer not in self._spreads:
            self._spreads = {layer: BenignSpread.of(self.sites.benign_ends("fit", layer))}
        return self._spreads[layer]

    def _rebuild(
        self, route: str, pair: LayerPair, recipe: Recipe, direction: Float[Tensor, " d_donor"]
    ) -> Choice:
        matches, sae = self.matches[pair], self.study.target.sae(pair[0])
        outputs = matches.eligible_target
        if route == "matched":
            stats = feature_stats([self._pair(pair)])
            rebuilt = rebuild_matched(recipe, matches, *stats, W_dec_target=sae.W_dec)
            return self.fixed(rebuilt, pair, direction)
        if route == "transported":
            moments = self._between("donor", "residuals", pair, recipe.feature_ids)
            return self.choose(
                pair, direction, lambda s: rebuild_transported(recipe, moments, strength=s)
            )
        moments = self._between("donor", "codes", pair, recipe.feature_ids)
        return self.choose(
            pair,
            direction,
            lambda s: rebuild_code_map(
                recipe,
                moments,
                lambda ids: self._between("target", "residuals", pair, ids),
                outputs=outputs,
                W_dec_target=sae.W_dec,
                strength=s,
                n_atoms=self.study.config.transfer.n_atoms,
            ),
        )

    def _pair(self, pair: LayerPair) -> CodePair:
        share = self.study.config.match.end_of_prompt_share
        return code_pair(self.codes, self.weigh, pair, "fit", share)

    def _between(
        self, side: SideName, to: str, pair: LayerPair, ids: Int[Tensor, " n_ids"]
    ) -> StreamingMoments:
        """Moments from matched latents of a side to matched codes or residuals of the target.

        Those of all matched latents are computed once and shared by all recipes of a pair, if
        they take `SHARED_MOMENTS` at most. Those of large dictionaries would not fit into memory:
        there each recipe has the moments of its own latents alone.
        """
        matches, (target, donor) = self.matches[pair], pair
        matched = matches.eligible_donor if side == "donor" else matches.eligible_target

        def of(latents: Tensor) -> StreamingMoments:
            x = self.codes(side, donor if side == "donor" else target)[:, latents.numpy()].tocsr()
            y = (
                self.sites.residuals("target", target)
                if to == "residuals"
                else self.codes("target", target)[:, matches.eligible_target.numpy()].tocsr()
            )
            return self.moments(x, y)

        d_model = self.study.target.loaded.architecture.d_model
        d_out = d_model if to == "residuals" else len(matches.eligible_target)
        if moments_bytes(len(matched), d_out) > SHARED_MOMENTS:
            return of(ids)
        key = (f"{side}.{to}", pair)
        if key not in self._moments:
            self._moments = {k: m for k, m in self._moments.items() if k[1] == pair}
            self._moments[key] = of(matched)
        return self._moments[key].select_inputs(torch.searchsorted(matched, ids))

    def moments(self, x: Batch, y: Batch) -> StreamingMoments:
        """Moments on fit sites, the ends of prompts holding their share of the weight."""
        rows = self.sites.rows("fit")
        weights = self.site_weights("fit")
        total = StreamingMoments(x.shape[1], y.shape[1])
        for weight in weights.unique().tolist():
            part = StreamingMoments(x.shape[1], y.shape[1])
            for some in rows[weights == weight].split(_rows_at_once(x, y)):
                part.update(select_rows(x, some), select_rows(y, some))
            total = total.merge(part.scaled(weight))
        return total

    def site_weights(self, split: str) -> Float[Tensor, " n_rows"]:
        """Weights of a split's sites."""
        return self.weigh(split, self.study.config.transfer.end_of_prompt_share)

    def choose(
        self, pair: LayerPair, direction: Tensor, rebuild: Callable[[float], Rebuilt]
    ) -> Choice:
        """The weakest ridge whose direction agrees as well as the best with the donor's.

        Args:
            pair: Target and donor layer.
            direction: The donor direction that agreement is measured against.
            rebuild: Gives the direction of a ridge.
        """
        tried = {s: rebuild(s) for s in sorted(self.study.config.transfer.ridges)}
        by_ridge = {
            s: self.agreement(pair, direction, r.direction, "select") for s, r in tried.items()
        }
        most = max(by_ridge.values())
        best = next(s for s, a in by_ridge.items() if a >= most - _AS_GOOD * abs(most))
        agreement = self.agreement(pair, direction, tried[best].direction, "report")
        return Choice(tried[best], best, by_ridge[best], agreement, by_ridge)

    def fixed(self, rebuilt: Rebuilt, pair: LayerPair, direction: Tensor) -> Choice:
        """A direction that has no ridge to choose, with its agreement."""
        chosen, reported = (
            self.agreement(pair, direction, rebuilt.direction, s) for s in ("select", "report")
        )
        return Choice(rebuilt, None, chosen, reported, {})

    def agreement(self, pair: LayerPair, donor: Tensor, target: Tensor, split: str) -> float:
        """Weighted correlation of donor and target projections over sites of a split."""
        return projection_agreement(
            *self._projections(pair, donor, target, split), self.site_weights(split)
        )

    def agreement_interval(
        self, pair: LayerPair, donor: Tensor, target: Tensor, generator: Generator
    ) -> Interval:
        """The agreement on `report` sites, with an interval over texts."""
        a, b = self._projections(pair, donor, target, "report")
        return bootstrap_correlation(
            a,
            b,
            weights=self.site_weights("report"),
            clusters=self.sites.text[self.sites.rows("report")],
            generator=generator,
        )

    def _projections(
        self, pair: LayerPair, donor: Tensor, target: Tensor, split: str
    ) -> tuple[Float[Tensor, " n_rows"], Float[Tensor, " n_rows"]]:
        rows = self.sites.rows(split)
        return (
            self.sites.residuals("donor", pair[1])[rows] @ donor.float(),
            self.sites.residuals("target", pair[0])[rows] @ target.float(),
        )


def _rows_at_once(*batches: Batch) -> int:
    width = sum(batch.shape[1] for batch in batches if isinstance(batch, Tensor))
    return max(1, DENSE_ROWS // (8 * max(1, width)))
