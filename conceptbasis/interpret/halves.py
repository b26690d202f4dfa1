"""How alike the recipes of two halves of the donor's prompts are.

Each half makes its own direction and its own recipe, and each recipe goes the transfer's own route
into the target. What the halves agree in is what the recipe says about the behavior; the rest it
says about the prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.directions.stability import cosine, jaccard, spread_of
from conceptbasis.errors import NumericsError
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.atoms import Halves, LayerHalves, Range
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.layers import LayerPair
from conceptbasis.study.codes import mask
from conceptbasis.study.recipes import make_recipe

FIGURES = ("donor_jaccard", "target_jaccard", "donor_cosine", "target_cosine")
"""What two halves are compared in: supports on both sides, directions on both sides."""

_RESAMPLES = 10
"""Intervals of a half are not read, so they need few draws."""

Rows = tuple[Int[Tensor, " n_first"], Int[Tensor, " n_second"]]
Split = tuple[Rows, Rows]
"""Two halves of the positive prompts and two of the negative ones."""

Compared = Mapping[str, float | None]
"""The figures of one split; those of target supports None by a route without them."""


@dataclass(frozen=True)
class _Half:
    """What one half of the prompts gives at one pair of layers."""

    direction: Float[Tensor, " d_donor"]
    recipe: Recipe


def compare_splits(
    rebuilder: Rebuilder,
    direction: DonorDirection,
    route: str,
    pair: LayerPair,
    splits: Sequence[Split],
) -> list[Compared]:
    """How alike the recipes of two halves of the prompts are at one pair of layers, by split.

    Splits in which a half gives no recipe at all are left out.

    Args:
        rebuilder: The way into the target.
        direction: Gives the residuals at the end of the prompts.
        route: The route of the transfer.
        pair: Target and donor layer.
        splits: Halves of the positive and of the negative prompts.
    """
    fitted = [
        [_fit(rebuilder, direction, pair, *half) for half in zip(*split, strict=True)]
        for split in splits
    ]
    compared = [_compare(rebuilder, route, pair, *halves) for halves in fitted]
    return [found for found in compared if found is not None]


def _fit(
    rebuilder: Rebuilder,
    direction: DonorDirection,
    pair: LayerPair,
    positive: Tensor,
    negative: Tensor,
) -> _Half | None:
    study, (target, donor) = rebuilder.study, pair
    shown, absent = direction.positive[donor][positive], direction.negative[donor][negative]
    eligible = mask(rebuilder.matches[pair].eligible_donor, study.donor.sae(donor).d_sae)
    try:
        unit = difference_of_means(shown, absent).unit
        recipe = make_recipe(
            study,
            eligible,
            donor,
            shown,
            absent,
            unit,
            generator=study.generator("halves.fit", target),
            n_resamples=_RESAMPLES,
        )
    except NumericsError:
        return None  # these prompts do not differ
    return _Half(unit, recipe) if len(recipe.feature_ids) else None


def _compare(
    rebuilder: Rebuilder, route: str, pair: LayerPair, first: _Half | None, second: _Half | None
) -> Compared | None:
    if first is None or second is None:
        return None
    try:
        one, other = (
            rebuilder.rebuild(route, pair, half.recipe, half.direction).rebuilt
            for half in (first, second)
        )
    except NumericsError:
        return None  # a half writes nothing into the target
    named = len(one.target_ids) and len(other.target_ids)
    return {
        "donor_jaccard": jaccard(first.recipe.feature_ids, second.recipe.feature_ids),
        "target_jaccard": jaccard(one.target_ids, other.target_ids) if named else None,
        "donor_cosine": cosine(first.direction, second.direction),
        "target_cosine": cosine(one.direction, other.direction),
    }


def over_splits(pair: LayerPair, found: Sequence[Compared]) -> LayerHalves:
    """Mean, least and most of each figure over the splits of one pair of layers."""
    return LayerHalves(*pair, len(found), Halves(**{name: _range(found, name) for name in FIGURES}))


def _range(found: Sequence[Compared], name: str) -> Range | None:
    known = [value for f in found if (value := f[name]) is not None]
    return Range(**vars(spread_of(known))) if known else None


def over_layers(rows: Sequence[LayerHalves]) -> Halves:
    """Mean over layers of the layers' means, with the least and the most of any split."""
    found: dict[str, Range | None] = {}
    for name in FIGURES:
        known: list[Range] = [r for row in rows if (r := getattr(row.halves, name)) is not None]
        found[name] = (
            Range(
                sum(r.mean for r in known) / len(known),
                min(r.least for r in known),
                max(r.most for r in known),
            )
            if known
            else None
        )
    return Halves(**found)
