"""The stages of a study in their order, as far as a test needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Forecast, Guarded, Replayed
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.graph import Graph
from conceptbasis.stages import STAGES
from conceptbasis.study.codes import Codes
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study
from conceptbasis.study.weights import SiteWeights

R = TypeVar("R")
OF_RESULT = {stage.result: stage for stage in STAGES}


@dataclass
class Steps:
    """Results of the stages, each computed when it is first asked for."""

    study: Study
    graph: Graph = field(init=False)

    def __post_init__(self) -> None:
        self.graph = Graph(self.study.folder, STAGES)

    def get(self, kind: type[R]) -> R:
        """The result of a class, with all that its stage needs."""
        stage, done = OF_RESULT[kind], self.graph.done
        if stage.name not in done:
            for needed in stage.needs:
                self.get(needed)
            if stage.reads_labels and self.study.ledger.hashes is None:
                self.study.ledger.seal({name: one.hash for name, one in done.items()})
            self.graph.run(stage, self.study)
        return self.graph.get(kind)

    @property
    def harvest(self) -> Harvest:
        return self.get(Harvest)

    @property
    def direction(self) -> DonorDirection:
        return self.get(DonorDirection)

    @property
    def matches(self) -> MatchSet:
        return self.get(MatchSet)

    @property
    def alignment(self) -> Alignment:
        return self.get(Alignment)

    @property
    def recipes(self) -> RecipeSet:
        return self.get(RecipeSet)

    @property
    def transfer(self) -> Transfer:
        return self.get(Transfer)

    @property
    def guarded(self) -> Guarded:
        return self.get(Guarded)

    @property
    def forecast(self) -> Forecast:
        return self.get(Forecast)

    @property
    def replayed(self) -> Replayed:
        return self.get(Replayed)

    @property
    def sites(self) -> Sites:
        return self.study.sites(self.harvest)

    @property
    def codes(self) -> Codes:
        return self.study.codes(self.harvest)

    @property
    def weigh(self) -> SiteWeights:
        return self.study.weights(self.harvest, self.direction)

    @cached_property
    def rebuilder(self) -> Rebuilder:
        """The way into the target."""
        return Rebuilder.of(self.study, self.harvest, self.direction, self.matches)
