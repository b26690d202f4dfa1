"""What methods read: results of earlier stages, sites and codes, but no prompt and no label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from jaxtyping import Float
from torch import Generator, Tensor

from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.features.matching import Matches
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.edits.intervention import Intervention, intervention_of
from conceptbasis.errors import PromptError
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Replayed
from conceptbasis.results.evaluation import Baselines, FittedMethod
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.layers import LayerPair
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.study.codes import Codes
from conceptbasis.study.recipes import recipe_of
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

R = TypeVar("R")

Native = Mapping[str, Float[Tensor, "n_layers d_target"]]
"""The target's own unit directions by method."""


@dataclass(frozen=True)
class Handed:
    """What methods read; a result of a stage that has not run yet is a KeyError.

    Args:
        replay: How edits are made: the run's own settings, or those of a comparison.
    """

    _study: Study
    _results: Mapping[type, Any]
    replay: ReplaySection
    _native: Native = field(default_factory=dict)
    _native_layers: tuple[int, ...] = ()
    _edit: Intervention | None = None
    _reads_labels: bool = False
    _kept: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, *results: Any) -> Self:
        """What there is after some stages, from their results."""
        return cls(study, {type(result): result for result in results}, study.config.replay)

    def once(self, make: Callable[[Self], R]) -> R:
        """What a function makes of all this, made once for all methods that ask."""
        if make not in self._kept:
            self._kept[make] = make(self)
        found: R = self._kept[make]
        return found

    def _get(self, kind: type[R]) -> R:
        found: R = self._results[kind]
        return found

    # Results of earlier stages

    @property
    def direction(self) -> DonorDirection:
        """The donor's own directions."""
        return self._get(DonorDirection)

    @property
    def alignment(self) -> Alignment:
        """The layer map and the concept directions."""
        return self._get(Alignment)

    @property
    def transfer(self) -> Transfer:
        """The rebuilt directions of every route."""
        return self._get(Transfer)

    @property
    def recipes(self) -> dict[int, Recipe]:
        """The recipes by target layer."""
        return {row.target: recipe_of(row) for row in self._get(RecipeSet).layers}

    @property
    def matches(self) -> Mapping[LayerPair, Matches]:
        """Matched latents by layer pair."""
        return self.rebuilder.matches

    @property
    def edit(self) -> Intervention:
        """The finished transfer."""
        return self._edit or intervention_of(self._get(Replayed))

    @property
    def native(self) -> Native:
        """The target's own directions by method.

        Raises:
            PromptError: before the seal, or if the method does not say that it reads labels.
        """
        if not self._reads_labels:
            raise PromptError(
                "a method would read the target's labels and does not say so",
                expected="a method with reads_labels",
                fix="set reads_labels, so that it runs after the seal",
            )
        self._study.ledger.require_sealed()
        return self._native

    def fitted(self, name: str) -> FittedMethod:
        """What stage `baselines` made of a method."""
        return next(m for m in self._get(Baselines).methods if m.name == name)

    # The models, and what was read of shared text

    @property
    def sites(self) -> Sites:
        """The shared sites with their residuals."""
        return self._study.sites(self._get(Harvest))

    @property
    def codes(self) -> Codes:
        """SAE codes of the shared sites."""
        return self._study.codes(self._get(Harvest))

    @property
    def rebuilder(self) -> Rebuilder:
        """Rebuilds recipes and chooses ridges."""
        return self.once(_rebuilder)

    @property
    def n_layers(self) -> int:
        """Layers of the target."""
        return self._study.target.n_layers

    @property
    def n_donor_layers(self) -> int:
        """Layers of the donor."""
        return self._study.donor.n_layers

    @property
    def weight_obstacle(self) -> str | None:
        """Why the target's weights cannot be edited, None where they can."""
        return self._study.target.loaded.architecture.weight_obstacle()

    @property
    def early(self) -> range:
        """Layers whose edit cannot be mere suppression of output words."""
        return range(int(self.replay.early_fraction * self.n_layers))

    def generator(self, *name: str | int) -> Generator:
        """The random stream of a name."""
        return self._study.generator(*name)

    def moments(self, pair: LayerPair) -> StreamingMoments:
        """Moments from donor to target residuals; kept for one target layer at a time."""
        kept: dict[LayerPair, StreamingMoments] = self._kept.setdefault("moments", {})
        for old in [known for known in kept if known[0] != pair[0]]:
            del kept[old]
        if pair not in kept:
            x, y = (
                self.sites.residuals("donor", pair[1]),
                self.sites.residuals("target", pair[0]),
            )
            kept[pair] = self.rebuilder.moments(x, y)
        return kept[pair]


def _rebuilder(handed: Handed) -> Rebuilder:
    return Rebuilder.of(
        handed._study, handed._get(Harvest), handed._get(DonorDirection), handed._get(MatchSet)
    )
