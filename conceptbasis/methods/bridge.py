"""All that a method sees: results of earlier stages, sites and codes, but no prompt and no label.

The edits that methods ask for are made here, in the form of the run and at the strength that its
rule gives. The target's own directions are handed to methods that say so, after the seal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.features.matches import Matches
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.data.prompts import Concept
from conceptbasis.edits.guard import GuardChoice, choose_guard, keep_out
from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
    intervention_of,
    plan_intervention,
)
from conceptbasis.edits.plan import plan_layers
from conceptbasis.edits.strength import settle
from conceptbasis.errors import CoverageError, NumericsError, PromptError
from conceptbasis.methods.base import Method
from conceptbasis.methods.concepts import transfer_contrast
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded, Replayed
from conceptbasis.results.evaluation import Baselines, FittedMethod
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.layers import LayerPair, LayerPlan
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.study.codes import Codes
from conceptbasis.study.recipes import recipe_of
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

R = TypeVar("R")

Directions = Mapping[int, Float[Tensor, " d_target"]]
"""Unit directions by target layer."""


@dataclass(frozen=True)
class Bridge:
    """What methods are handed; a result of a stage that has not run yet is a KeyError.

    Args:
        replay: How edits are made: the run's own settings, or those of a comparison.
    """

    _study: Study
    _results: Mapping[type, Any]
    replay: ReplaySection
    _native: Directions | Mapping[str, Float[Tensor, "n_layers d_target"]] = field(
        default_factory=dict
    )
    _edit: Intervention | None = None
    _reads_labels: bool = False
    _kept: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, *results: Any) -> Bridge:
        """A bridge over the results of finished stages."""
        return cls(study, {type(result): result for result in results}, study.config.replay)

    def hand_to(self, method: Method) -> Bridge:
        """The bridge as one method may see it.

        Raises:
            PromptError: if the method reads labels and the transfer is not sealed.
        """
        if method.reads_labels:
            self._study.ledger.require_sealed()
        return replace(self, _reads_labels=method.reads_labels)

    def with_native(self, native: Mapping[str, Float[Tensor, "n_layers d_target"]]) -> Bridge:
        """The bridge with the target's own directions by method."""
        return replace(self, _native=native)

    def in_form(self, replay: ReplaySection) -> Bridge:
        """The bridge with another form of edit, the transfer in that form too."""
        other = replace(self, replay=replay)
        return replace(other, _edit=other._along_rows(self.edit.plan, list(self.edit.directions)))

    def once(self, make: Callable[[Bridge], R]) -> R:
        """What a function makes of this bridge, made once for all methods that ask."""
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
    def native(self) -> Mapping[str, Float[Tensor, "n_layers d_target"]]:
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
        return self._native  # type: ignore[return-value]

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

    # Directions

    @property
    def used_pairs(self) -> list[LayerPair]:
        """The layer pairs whose directions the transfer uses."""
        sources = self.edit.plan.sources
        return [pair for pair in self.transfer.layer_map if pair[0] in sources]

    def rebuilt(self, pair: LayerPair, recipe: Recipe) -> Float[Tensor, " d_target"]:
        """The direction of a recipe by the route of the transfer."""
        along = self.direction.per_layer[pair[1]]
        return self.rebuilder.rebuild(self.transfer.route, pair, recipe, along).rebuilt.direction

    @property
    def n_contrasts(self) -> int:
        """Number of benign concepts."""
        return len(self._benign)

    def benign_contrast(self, number: int) -> Directions | None:
        """Directions of a benign concept by the route of the transfer; None without a match."""
        concept = self._benign[number]
        try:
            return transfer_contrast(
                self.rebuilder,
                self.transfer.route,
                self.used_pairs,
                [p.text for p in concept.positive],
                [p.text for p in concept.negative],
                ("unrelated_recipe", number),
            )
        except (CoverageError, NumericsError):
            return None

    @property
    def _benign(self) -> list[Concept]:
        concepts = self._study.suite.concepts
        return sorted((c for c in concepts if c.budget == "B0"), key=lambda c: c.name)

    def choose_guard(self, by_layer: Directions, form: Mapping[str, str | float]) -> GuardChoice:
        """The guard that directions need under an edit of their own form."""
        section, plan = ReplaySection.model_validate(form), LayerPlan.per_layer(by_layer)
        assert section.gamma != "auto"
        edit = Intervention(
            plan,
            torch.stack([by_layer[layer] for layer in plan.layers]),
            section.mode,
            section.scope,
            section.gamma,
            which=section.which,
        )
        loaded = self._study.target.loaded
        return choose_guard(
            self._study,
            self.sites,
            plan.layers,
            edit.directions,
            lambda safe: apply_intervention(loaded, replace(edit, directions=safe)),
        )

    # Edits

    def plan_of(
        self, route: str, directions: Literal["single", "per_layer"] | None = None
    ) -> LayerPlan:
        """The edited layers of the transfer with the directions of a route."""
        section = self.replay.model_copy(
            update={"directions": directions or self.replay.directions}
        )
        agreements = self.transfer.selections(route)
        return plan_layers(agreements, section, self.n_layers, edited=self.edit.layers)

    def edit_along(
        self,
        plan: LayerPlan,
        by_layer: Directions,
        *,
        section: ReplaySection | None = None,
        means: Directions | None = None,
    ) -> Intervention:
        """An edit in the form of the run, at the strength that the same rule gives.

        Args:
            plan: Edited layers, and whose direction each gets; those without one are left out.
            by_layer: Unit directions.
            section: Another form than the run's.
            means: Other means than those of benign requests, by edited layer.
        """
        known = LayerPlan(tuple(pair for pair in plan.source if pair[1] in by_layer))
        found = plan_intervention(self.sites, known, by_layer, section or self.replay, means)
        return settle(self._study, self.sites, found)[0]

    def unguarded(self, route: str) -> Intervention:
        """The recipe by a route, on the layers of the transfer, without a guard."""
        return self.edit_along(self.plan_of(route), self.transfer.by_layer(route))

    def guarded_edit(self, plan: LayerPlan, by_layer: Directions) -> Intervention:
        """An edit along directions under the guard of the transfer."""
        rows = torch.stack([by_layer[source] for _, source in plan.source])
        safe = keep_out(self._get(Guarded), rows, plan.layers)
        return self._along_rows(plan, list(safe))

    def native_edit(self, name: str) -> Intervention:
        """The target's own directions, at every layer where the form of the run allows it."""
        rows, study = self.native[name], self._study
        layers = self.edit.layers if self.replay.mode == "raise" else range(self.n_layers)
        self.sites.read_reported_ends(study.target.loaded, study.config.harvest, study.reporter)
        return self.edit_along(LayerPlan.per_layer(layers), dict(enumerate(rows)))

    def _along_rows(self, plan: LayerPlan, rows: list[Tensor]) -> Intervention:
        """An edit whose layers each have a direction of their own, whatever its plan."""
        own = LayerPlan.per_layer(plan.layers)
        edit = self.edit_along(own, dict(zip(plan.layers, rows, strict=True)))
        return replace(edit, plan=plan)


def _rebuilder(bridge: Bridge) -> Rebuilder:
    return Rebuilder.of(
        bridge._study, bridge._get(Harvest), bridge._get(DonorDirection), bridge._get(MatchSet)
    )
