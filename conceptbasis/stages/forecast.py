"""Stage `forecast`: will the transfer work? Said before the edit, without refusal labels.

Coverage (how much of the donor's direction is matched and was seen in the transfer text),
agreement on benign sites, proxy transfers, and what the edit does to requests that the target
declines for harmless reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from conceptbasis.core.statistics.intervals import Interval, bootstrap_mean
from conceptbasis.edits.spread import replayed_pairs
from conceptbasis.edits.strength import settled_intervention
from conceptbasis.errors import CoverageError
from conceptbasis.evaluation.proxies import decline_effects, measure_proxies
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.align import Alignment, code_differences
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.fit import RecipeSet
from conceptbasis.stages.guard import Guarded
from conceptbasis.stages.transfer import Transfer
from conceptbasis.study.study import Study


def run_forecast(
    study: Study,
    rebuilder: Rebuilder,
    direction: DonorDirection,
    recipes: RecipeSet,
    alignment: Alignment,
    transfer: Transfer,
    guarded: Guarded,
) -> StageOutput:
    """Runs or reuses the stage.

    Raises:
        CoverageError: if the forecast declines the transfer and `forecast.force` is not set.
    """
    section = study.config.forecast

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        pairs = replayed_pairs(alignment.layer_map.pairs, guarded.single)
        figures = _figures(
            study, pairs, rebuilder, direction, recipes, alignment, transfer, guarded
        )
        edit, _ = settled_intervention(
            study, rebuilder.harvest, guarded.layers, guarded.directions, guarded.single
        )
        proxies = measure_proxies(
            study, rebuilder, alignment, transfer.basis, guarded.single, edit.layers
        )
        figures["proxy_success"] = _mean(study, [p.success for p in proxies], 5)
        figures["decline_effect"] = _mean(study, decline_effects(study, edit), 7)
        covered, unseen = _coverage(study, rebuilder, direction, [donor for _, donor in pairs])
        reasons = _reasons(study, figures, covered, unseen)
        return {}, {
            "figures": figures,
            "covered_share": covered,
            "unseen_features": unseen,
            "proxies": [{"name": p.name, "success": p.success} for p in proxies],
            "passed": not reasons,
            "reasons": reasons,
        }

    output = study.run.stage(
        "forecast",
        config={
            **section.model_dump(exclude={"force"}),
            "replay": study.config.replay.model_dump(),
        },
        inputs={
            "fit": recipes.output.hash,
            "align": alignment.output.hash,
            "transfer": transfer.output.hash,
            "guard": guarded.output.hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    if not output.result["passed"] and not section.force:
        raise CoverageError(
            "the forecast declines this transfer: " + "; ".join(output.result["reasons"]),
            expected="values above the bounds of the forecast section",
            fix="add transfer text in which the missing recipe features fire, loosen match.r_min, "
            "or go on with --force",
        )
    return output


def _figures(
    study: Study,
    pairs: Sequence[tuple[int, int]],
    rebuilder: Rebuilder,
    direction: DonorDirection,
    recipes: RecipeSet,
    alignment: Alignment,
    transfer: Transfer,
    guarded: Guarded,
) -> dict[str, Any]:
    """Of the layers whose directions are replayed; the guard's overlap, of all edited ones."""
    scores, nulls = alignment.output.result["score"], alignment.output.result["null"]
    rows = [
        row for row in transfer.output.result["layers"] if (row["target"], row["donor"]) in pairs
    ]
    masses = [m for t, _ in pairs if (m := recipes.recipes[t].eligible_mass) is not None]
    agreements = [
        rebuilder.agreement_interval(
            (t, d),
            direction.trajectory[d],
            transfer.steering[transfer.layers.index(t)],
            study.generator(211 + t),
        )
        for t, d in pairs
    ]
    return {
        "eligible_mass": _mean_of_intervals(masses),
        "r_heldout": _mean(study, [a["r_heldout"] for r in rows for a in r["donor_atoms"]], 1),
        "agreement": _mean_of_intervals(agreements),
        "svcca": _mean(study, [scores[t][d] for t, d in pairs], 3),
        "svcca_null": _mean(study, [nulls[t][d] for t, d in pairs], 4),
        "guard_overlap": _mean(
            study, [row["overlap_curve"][-1] for row in guarded.output.result["layers"]], 6
        ),
    }


def _mean(study: Study, values: Sequence[float], salt: int) -> dict[str, float | int] | None:
    if not values:
        return None
    tensor = torch.tensor(values, dtype=torch.float32)
    return asdict(bootstrap_mean(tensor, generator=study.generator(salt)))


def _mean_of_intervals(intervals: Sequence[Interval]) -> dict[str, float | int] | None:
    if len(intervals) < 2:
        return asdict(intervals[0]) if intervals else None
    n = len(intervals)
    value, low, high = (sum(getattr(i, e) for i in intervals) / n for e in ("value", "low", "high"))
    return asdict(Interval(value, low, high, n))


def _coverage(
    study: Study, rebuilder: Rebuilder, direction: DonorDirection, donors: Iterable[int]
) -> tuple[float, list[str]]:
    """Share of the direction's largest features, matched or not, that the transfer text fires.

    The second part names those it never fires, as layer:feature.
    """
    total, unseen = 0, []
    for donor in sorted(set(donors)):
        delta = code_differences(study, direction, donor).abs()
        z = rebuilder.codes.split("donor", donor, "fit")
        for feature in delta.topk(study.config.fit.n_atoms).indices.tolist():
            total += 1
            if z[:, feature].nnz == 0:
                unseen.append(f"{donor}:{feature}")
    return 1 - len(unseen) / total, unseen


def _reasons(study: Study, figures: dict[str, Any], covered: float, unseen: list[str]) -> list[str]:
    section = study.config.forecast
    reasons = []
    mass, agreement = figures["eligible_mass"], figures["agreement"]
    if mass is not None and mass["value"] < section.min_eligible_mass:
        reasons.append(
            f"matched features carry {mass['value']:.1%} of the direction "
            f"(least {section.min_eligible_mass:.1%}); {covered:.0%} of its largest features "
            f"fire in the transfer text, never: {', '.join(unseen[:12]) or 'none'} (layer:feature)"
        )
    if agreement["value"] < section.min_agreement:
        reasons.append(
            f"projections agree at {agreement['value']:.2f} (least {section.min_agreement:.2f})"
        )
    effect = figures["decline_effect"]
    if effect is not None and effect["value"] < section.min_neighbour_effect:
        reasons.append(
            f"the edit takes away {effect['value']:.0%} of the target's harmless declines "
            f"(least {section.min_neighbour_effect:.0%})"
        )
    return reasons
