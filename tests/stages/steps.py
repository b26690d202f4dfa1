"""The stages in their order, up to the transfer."""

from __future__ import annotations

from dataclasses import dataclass

from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.stages.align import Alignment, run_align
from conceptbasis.stages.direction import DonorDirection, run_direction
from conceptbasis.stages.fit import RecipeSet, run_fit
from conceptbasis.stages.match import MatchSet, run_match
from conceptbasis.study.harvest import Harvest, run_harvest
from conceptbasis.study.site_weights import SiteWeights
from conceptbasis.study.study import Codes, Study


@dataclass
class Steps:
    """What the stages before the transfer give."""

    study: Study
    harvest: Harvest
    codes: Codes
    matches: MatchSet
    direction: DonorDirection
    alignment: Alignment
    recipes: RecipeSet
    weigh: SiteWeights

    @property
    def rebuilder(self) -> Rebuilder:
        """The route into the target."""
        return Rebuilder(self.study, self.harvest, self.codes, self.matches, self.weigh)


def harvest_of(study: Study) -> Harvest:
    """Stage `harvest`."""
    sides = {"donor": study.donor, "target": study.target}
    return run_harvest(
        study.run,
        study.config,
        {name: side.loaded for name, side in sides.items()},
        {name: side.model_hash for name, side in sides.items()},
        {name: list(side.saes.saes) for name, side in sides.items()},
        study.suite,
        study.ledger,
        study.reporter,
    )


def steps_of(study: Study) -> Steps:
    """Stages `harvest` to `fit`."""
    harvest = harvest_of(study)
    codes = Codes(study, harvest)
    direction = run_direction(study)
    weigh = SiteWeights(harvest, direction)
    matches = run_match(study, harvest, codes, weigh)
    alignment = run_align(study, harvest, codes, matches, direction)
    recipes = run_fit(study, codes, matches, direction, alignment)
    return Steps(study, harvest, codes, matches, direction, alignment, recipes, weigh)
