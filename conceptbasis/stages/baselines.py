"""Stage `baselines`: the donor's direction moved to the target by other means than latents."""

from __future__ import annotations

from conceptbasis.methods import chosen_baselines
from conceptbasis.methods.bridge import Bridge
from conceptbasis.methods.fitting import fit_baselines
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.evaluation import Baselines
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def baselines(
    study: Study,
    harvest: Harvest,
    direction: DonorDirection,
    matches: MatchSet,
    alignment: Alignment,
) -> Baselines:
    """Fits every baseline of the run."""
    return fit_baselines(
        Bridge.of(study, harvest, direction, matches, alignment),
        chosen_baselines(study.config.evaluate.baselines),
        study.reporter,
        n_workers=study.config.n_workers,
        device=study.config.device,
    )


BASELINES = Stage(
    "baselines",
    Baselines,
    baselines,
    needs=(Harvest, DonorDirection, MatchSet, Alignment),
    sources=("target", "texts"),
    config=(
        "evaluate.baselines",
        "transfer.ridges",
        "transfer.end_of_prompt_share",
        "guard",
    ),
)
