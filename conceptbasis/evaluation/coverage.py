"""Figures of a forecast: how much of the direction is covered, and what agrees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import bootstrap_mean
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded
from conceptbasis.results.matching import Alignment
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.study.recipes import code_differences
from conceptbasis.study.study import Study

Figures = dict[str, Interval | None]


def transfer_figures(
    rebuilder: Rebuilder,
    direction: DonorDirection,
    alignment: Alignment,
    recipes: RecipeSet,
    transfer: Transfer,
    guarded: Guarded,
) -> Figures:
    """Of the layers whose directions are replayed; the guard's overlap, of all edited ones."""
    study = rebuilder.study
    replayed = [i for i, row in enumerate(transfer.layers) if row.target in transfer.plan.sources]
    rows = [transfer.layers[i] for i in replayed]
    masses = [m for i in replayed if (m := recipes.layers[i].eligible_mass) is not None]
    agreements = [
        rebuilder.agreement_interval(
            (transfer.layers[i].target, transfer.layers[i].donor),
            direction.per_layer[transfer.layers[i].donor],
            transfer.steering[i],
            study.generator("forecast.agreement", transfer.layers[i].target),
        )
        for i in replayed
    ]
    overlaps = [row.overlap_curve[-1] for row in guarded.layers]
    return {
        "eligible_mass": _mean_of_intervals(masses),
        "r_heldout": mean(study, [a.r_heldout for r in rows for a in r.donor_atoms], "r_heldout"),
        "agreement": _mean_of_intervals(agreements),
        "svcca": mean(study, [alignment.score[r.target][r.donor] for r in rows], "svcca"),
        "svcca_null": mean(study, [alignment.null[r.target][r.donor] for r in rows], "svcca_null"),
        "guard_overlap": mean(study, overlaps, "guard_overlap"),
    }


def mean(study: Study, values: Sequence[float | None], name: str) -> Interval | None:
    """Mean of values with a bootstrap interval, None without values."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    tensor = torch.tensor(known, dtype=torch.float32)
    return bootstrap_mean(tensor, generator=study.generator("forecast", name))


def _mean_of_intervals(intervals: Sequence[Interval]) -> Interval | None:
    if len(intervals) < 2:
        return intervals[0] if intervals else None
    n = len(intervals)
    return Interval(
        sum(i.value for i in intervals) / n,
        sum(i.low for i in intervals) / n,
        sum(i.high for i in intervals) / n,
        n,
    )


def covered_share(
    rebuilder: Rebuilder, direction: DonorDirection, donors: Iterable[int]
) -> tuple[float, tuple[str, ...]]:
    """Share of the direction's largest latents, matched or not, that the transfer text fires.

    The second part names those it never fires, as layer:latent.
    """
    study = rebuilder.study
    total, unseen = 0, []
    for donor in sorted(set(donors)):
        delta = code_differences(study, direction, donor).abs()
        z = rebuilder.codes.split("donor", donor, "fit")
        for latent in delta.topk(study.config.fit.n_atoms).indices.tolist():
            total += 1
            if z[:, latent].nnz == 0:
                unseen.append(f"{donor}:{latent}")
    return 1 - len(unseen) / total, tuple(unseen)


def broken_bounds(
    study: Study, figures: Figures, covered: float, unseen: Sequence[str]
) -> tuple[str, ...]:
    """What speaks against the transfer, as sentences; empty where nothing does."""
    section, reasons = study.config.forecast, []
    mass, agreement = figures["eligible_mass"], figures["agreement"]
    if mass is not None and mass.value < section.min_eligible_mass:
        reasons.append(
            f"matched latents carry {mass.value:.1%} of the direction "
            f"(least {section.min_eligible_mass:.1%}); {covered:.0%} of its largest latents "
            f"fire in the transfer text, never: {', '.join(unseen[:12]) or 'none'} (layer:latent)"
        )
    if agreement is not None and agreement.value < section.min_agreement:
        reasons.append(
            f"projections agree at {agreement.value:.2f} (least {section.min_agreement:.2f})"
        )
    effect = figures["neighbour_effect"]
    if effect is not None and effect.value < section.min_neighbour_effect:
        reasons.append(
            f"the edit takes away {effect.value:.0%} of the target's {study.behavior.neighbour} "
            f"(least {section.min_neighbour_effect:.0%})"
        )
    return tuple(reasons)
