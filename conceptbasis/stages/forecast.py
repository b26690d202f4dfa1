"""Stage `forecast`: will the transfer work? Said before the edit, without labels of the target.

Coverage (how much of the donor's direction is matched and was seen in the transfer text),
agreement on benign sites, proxy transfers, and what the edit does to benign neighbours of the
behavior.
"""

from __future__ import annotations

from conceptbasis.config.run import RunConfig
from conceptbasis.edits.strength import settled_edit
from conceptbasis.errors import CoverageError
from conceptbasis.evaluation.coverage import (
    broken_bounds,
    covered_share,
    mean,
    transfer_figures,
)
from conceptbasis.evaluation.proxies import measure_proxies, neighbour_effects
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Forecast, Guarded
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def forecast(
    study: Study,
    harvest: Harvest,
    direction: DonorDirection,
    matches: MatchSet,
    alignment: Alignment,
    recipes: RecipeSet,
    transfer: Transfer,
    guarded: Guarded,
) -> Forecast:
    """Measures what foretells the transfer, and compares it with the bounds."""
    rebuilder = Rebuilder.of(study, harvest, direction, matches)
    figures = transfer_figures(rebuilder, direction, alignment, recipes, transfer, guarded)
    plan = transfer.plan
    edit, _ = settled_edit(study, rebuilder.sites, plan, guarded.directions)
    proxies = measure_proxies(rebuilder, transfer)
    figures["proxy_success"] = mean(study, [p.success for p in proxies], "proxy_success")
    effects = neighbour_effects(study, edit)
    figures["neighbour_effect"] = mean(study, effects, "neighbour_effect")
    donors = [donor for target, donor in transfer.layer_map if target in plan.sources]
    covered, unseen = covered_share(rebuilder, direction, donors)
    reasons = broken_bounds(study, figures, covered, unseen)
    return Forecast(figures, covered, unseen, tuple(proxies), not reasons, reasons)


def require_passed(config: RunConfig, found: Forecast) -> None:
    """Stops a run that its forecast rejects, unless `forecast.force` is set.

    Raises:
        CoverageError: with the broken bounds.
    """
    if not found.passed and not config.forecast.force:
        raise CoverageError(
            "the forecast rejects this transfer: " + "; ".join(found.reasons),
            expected="values above the bounds of the forecast section",
            fix="add transfer text in which the missing recipe latents fire, loosen match.r_min, "
            "or go on with --force",
        )


FORECAST = Stage(
    "forecast",
    Forecast,
    forecast,
    needs=(Harvest, DonorDirection, MatchSet, Alignment, RecipeSet, Transfer, Guarded),
    sources=("donor", "target", "concepts"),
    config=("forecast", "-forecast.force", "replay", "fit.n_atoms", "budget"),
    check=require_passed,
)
