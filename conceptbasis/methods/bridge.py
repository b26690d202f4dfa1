"""All that a method sees: what it may read, and the edits that are made for it.

Edits are made in the form of the run and at the strength that its rule gives. The target's own
directions are handed to methods that say so, after the seal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.data.prompts import Concept
from conceptbasis.edits.dose import breaks
from conceptbasis.edits.guard import GuardChoice, choose_guard, keep_out
from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
)
from conceptbasis.edits.plan import plan_layers
from conceptbasis.edits.planning import plan_intervention
from conceptbasis.edits.strength import settle, settled_edit
from conceptbasis.errors import CoverageError, NumericsError
from conceptbasis.methods.base import Method
from conceptbasis.methods.concepts import transfer_contrast
from conceptbasis.methods.handed import Handed, Native
from conceptbasis.models.stream.native import middle_layers
from conceptbasis.results.edit import Guarded
from conceptbasis.results.layers import LayerPair, LayerPlan

Directions = Mapping[int, Float[Tensor, " d_target"]]
"""Unit directions by target layer."""


class Bridge(Handed):
    """What methods are handed."""

    def hand_to(self, method: Method) -> Bridge:
        """The bridge as one method may see it.

        Raises:
            PromptError: if the method reads labels and the transfer is not sealed.
        """
        if method.reads_labels:
            self._study.ledger.require_sealed()
        return replace(self, _reads_labels=method.reads_labels)

    def with_native(self, native: Native, layers: Sequence[int]) -> Bridge:
        """The bridge with the target's own directions by method, and where they were selected."""
        return replace(self, _native=native, _native_layers=tuple(layers))

    def in_form(self, replay: ReplaySection) -> Bridge:
        """The bridge with another form of edit, the transfer in that form too."""
        other = replace(self, replay=replay)
        return replace(other, _edit=other._along_rows(self.edit.plan, self.edit.directions))

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
        return self._along_rows(plan, safe)

    def native_edit(self, name: str) -> Intervention:
        """The target's own directions, where they were selected: mostly at every layer.

        Where that breaks the target in the form of the run, whose answers then say nothing of the
        directions, at the middle layers.
        """
        by_layer = dict(enumerate(self.native[name]))
        if self.replay.mode == "raise":
            return self.edit_along(LayerPlan.per_layer(self.edit.layers), by_layer)
        study = self._study
        harvest, centre = study.config.harvest, study.config.replay.centre
        self.sites.read_missing_layers(study.target.loaded, harvest, centre, study.reporter)
        chosen = self.edit_along(LayerPlan.per_layer(self._native_layers), by_layer)
        middle = middle_layers(self.n_layers)
        if len(chosen.layers) <= len(middle) or not breaks(study, self.sites, chosen):
            return chosen
        study.say(f"{name}: at every layer it breaks the target; at the middle layers")
        return self.edit_along(LayerPlan.per_layer(middle), by_layer)

    def _along_rows(self, plan: LayerPlan, rows: Tensor) -> Intervention:
        """An edit whose layers each have a direction of their own, whatever its plan."""
        return settled_edit(self._study, self.sites, plan, rows, self.replay)[0]
