"""Stage `stability`: would other prompts of the donor have given the same recipe?

The direction's prompts are split in two halves several times, noun by noun. Each half makes its own
direction and its own recipe, and each recipe goes the transfer's own route into the target. What
the halves agree in is what the recipe says about refusal; the rest it says about the prompts. The
target reads nothing for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.directions.stability import cosine, jaccard, split_halves, spread_of
from conceptbasis.errors import NumericsError
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.align import Alignment
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.fit import make_recipe
from conceptbasis.stages.match import LayerPair, mask
from conceptbasis.stages.transfer import Transfer
from conceptbasis.study.study import Study, noun_clusters

FIGURES = ("donor_jaccard", "target_jaccard", "donor_cosine", "target_cosine")
"""What two halves are compared in: supports on both sides, directions on both sides."""

_RESAMPLES = 10
"""Intervals of a half are not read, so they need few draws."""

Halves = tuple[Int[Tensor, " n_first"], Int[Tensor, " n_second"]]
Split = tuple[Halves, Halves]
"""Two halves of the harmful prompts and two of the harmless ones."""


@dataclass(frozen=True)
class _Half:
    """What one half of the prompts gives at one pair of layers."""

    direction: Float[Tensor, " d_donor"]
    recipe: Recipe


def run_stability(
    study: Study,
    rebuilder: Rebuilder,
    direction: DonorDirection,
    alignment: Alignment,
    transfer: Transfer,
) -> StageOutput | None:
    """Runs or reuses the stage; None where `stability.n_splits` is 0 or nothing can be split."""
    n_splits = study.config.stability.n_splits
    groups = [noun_clusters(study.suite[f"direction_{name}"]) for name in ("harmful", "harmless")]
    if n_splits == 0 or any(len(g.unique()) < 2 for g in groups):
        return None

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        splits = [
            (
                split_halves(groups[0], study.generator(40_000 + 2 * i)),
                split_halves(groups[1], study.generator(40_001 + 2 * i)),
            )
            for i in range(n_splits)
        ]
        rows = []
        pairs = alignment.layer_map.pairs
        with study.reporter.bar("stability") as advance:
            for done, pair in enumerate(pairs, 1):
                found = compare_splits(study, rebuilder, direction, transfer.basis, pair, splits)
                rows.append({"target": pair[0], "donor": pair[1], **_spreads(found)})
                advance(done, len(pairs), "")
        return {}, {"n_splits": n_splits, "layers": rows, "all_layers": _over_layers(rows)}

    return study.run.stage(
        "stability",
        config=study.config.stability.model_dump(),
        inputs={
            "direction": direction.output.hash,
            "transfer": transfer.output.hash,
            "nouns": value_hash([g.tolist() for g in groups]),
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )


def compare_splits(
    study: Study,
    rebuilder: Rebuilder,
    direction: DonorDirection,
    basis: str,
    pair: LayerPair,
    splits: Sequence[Split],
) -> list[dict[str, float | None]]:
    """How alike the recipes of two halves of the prompts are at one pair of layers, by split.

    Args:
        study: The study.
        rebuilder: The route into the target.
        direction: Gives the residuals at the end of the prompts.
        basis: One of `stages.rebuilder.BASES`.
        pair: Target and donor layer.
        splits: Halves of the harmful and of the harmless prompts.

    Returns:
        The figures of `FIGURES` for each split; those of target supports None in a basis without
        them. Splits in which a half gives no recipe at all are left out.
    """
    fitted = [
        [_fit(study, rebuilder, direction, pair, *half) for half in zip(*split, strict=True)]
        for split in splits
    ]
    compared = [_compare(rebuilder, basis, pair, *halves) for halves in fitted]
    return [found for found in compared if found is not None]


def _fit(
    study: Study,
    rebuilder: Rebuilder,
    direction: DonorDirection,
    pair: LayerPair,
    positive: Tensor,
    negative: Tensor,
) -> _Half | None:
    target, donor = pair
    bad, good = direction.positive[donor][positive], direction.negative[donor][negative]
    eligible = mask(rebuilder.matches.pairs[pair].eligible_donor, study.donor.sae(donor).d_sae)
    try:
        unit = difference_of_means(bad, good).unit
        recipe = make_recipe(
            study, eligible, donor, bad, good, unit, salt=41_000 + target, n_resamples=_RESAMPLES
        )
    except NumericsError:
        return None  # these prompts do not differ
    return _Half(unit, recipe) if len(recipe.feature_ids) else None


def _compare(
    rebuilder: Rebuilder, basis: str, pair: LayerPair, first: _Half | None, second: _Half | None
) -> dict[str, float | None] | None:
    if first is None or second is None:
        return None
    try:
        one, other = (
            rebuilder.rebuild(basis, pair, half.recipe, half.direction).rebuilt
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


def _spreads(found: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    columns = {name: [f[name] for f in found] for name in FIGURES}
    known = {name: [v for v in values if v is not None] for name, values in columns.items()}
    spreads = {name: spread_of(v).as_dict() if v else None for name, v in known.items()}
    return {"n_splits": len(found), **spreads}


def _over_layers(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over layers of the layers' means, with the least and the most of any split."""
    found: dict[str, Any] = {}
    for name in FIGURES:
        known = [row[name] for row in rows if row[name] is not None]
        found[name] = None
        if known:
            found[name] = {
                "mean": sum(k["mean"] for k in known) / len(known),
                "least": min(k["least"] for k in known),
                "most": max(k["most"] for k in known),
            }
    return found
