"""What stages `fit` and `transfer` leave: the recipe, and what it became in the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.results.layers import LayerPair, LayerPlan

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class FittedAtom:
    """A donor latent of the recipe.

    Args:
        latent: Its number in the donor's SAE.
        coefficient: Signed; positive atoms write the behavior.
        low: Bootstrap bound of the coefficient.
        high: Bootstrap bound of the coefficient.
        frequency: Share of resamples that choose it too.
        unstable: Whether that share is low.
        density: Share of shared sites at which it fires.
    """

    latent: int
    coefficient: float
    low: float
    high: float
    frequency: float
    unstable: bool
    density: float


@dataclass(frozen=True)
class LayerRecipe:
    """The recipe of one edited target layer, over latents of the donor layer that stands for it.

    Args:
        target: Target layer.
        donor: Donor layer.
        eligible_mass: Share of Σ|Δz|·‖d‖ on eligible latents.
        donor_cosine: Cosine of what the recipe writes with the donor's direction.
        n_eligible: Eligible donor latents.
        atoms: By falling contribution.
    """

    target: int
    donor: int
    eligible_mass: Interval
    donor_cosine: float
    n_eligible: int
    atoms: tuple[FittedAtom, ...]


@dataclass(frozen=True)
class RecipeSet:
    """One recipe per mapped target layer; a donor layer may occur twice."""

    layers: tuple[LayerRecipe, ...]


@dataclass(frozen=True)
class DonorAtom:
    """A donor latent of a transferred recipe, with its best match."""

    latent: int
    coefficient: float
    target_latent: int | None
    r_heldout: float
    null_quantile: float


@dataclass(frozen=True)
class TargetAtom:
    """A target latent that the rebuilt direction is written with."""

    latent: int
    coefficient: float
    density: float


@dataclass(frozen=True)
class LayerTransfer:
    """A recipe rebuilt at one layer pair.

    Args:
        target: Target layer.
        donor: Donor layer.
        ridge: Chosen ridge, None where the route has none.
        agreement: Projection agreement on sites that nothing was chosen on.
        agreement_by_route: The same of every route.
        selection_by_route: Agreement on the sites that layers and routes are chosen on.
        agreement_by_ridge: Agreement of each ridge of the chosen route.
        donor_atoms: The recipe.
        target_atoms: What it became; empty for a route that names no latents.
    """

    target: int
    donor: int
    ridge: float | None
    agreement: float
    agreement_by_route: Mapping[str, float]
    selection_by_route: Mapping[str, float]
    agreement_by_ridge: Mapping[str, float]
    donor_atoms: tuple[DonorAtom, ...]
    target_atoms: tuple[TargetAtom, ...]


@dataclass(frozen=True)
class Transfer:
    """The recipes rebuilt in the target, without any of its labels.

    Args:
        route: The route of the transfer; the others are ablations.
        plan: The edited layers, and whose direction each gets.
        class_shares: Weight of each class of text on ends of prompts.
        layers: One row per mapped target layer.
        directions: Unit directions by route, one row per entry of `layers`.
        steering: Steering vectors of the chosen route.
    """

    route: str
    plan: LayerPlan
    class_shares: Mapping[str, float]
    layers: tuple[LayerTransfer, ...]
    directions: Mapping[str, Float[Tensor, "n_mapped d_target"]]
    steering: Float[Tensor, "n_mapped d_target"]

    @property
    def layer_map(self) -> tuple[LayerPair, ...]:
        """Target and donor layer of each row."""
        return tuple((row.target, row.donor) for row in self.layers)

    def selections(self, route: str) -> dict[int, float]:
        """Projection agreement of a route by target layer, on the sites of the choices."""
        return {row.target: row.selection_by_route[route] for row in self.layers}

    def by_layer(self, route: str | None = None) -> dict[int, Float[Tensor, " d_target"]]:
        """Unit directions of a route (by default the transfer's) by target layer."""
        rows = self.directions[route or self.route]
        return {row.target: rows[i] for i, row in enumerate(self.layers)}
