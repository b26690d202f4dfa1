"""Recipes: the donor's direction as code differences of matched latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from conceptbasis.core.directions.recipe import Recipe, fit_recipe
from conceptbasis.core.features.matches import Matches
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.matching import LayerMatches, MatchSet
from conceptbasis.results.recipe import LayerRecipe
from conceptbasis.study.codes import mask

if TYPE_CHECKING:
    from conceptbasis.results.layers import LayerPair
    from conceptbasis.study.study import Study


def matches_of(row: LayerMatches) -> Matches:
    """The matches of a layer pair, from what stage `match` left."""
    return Matches(
        row.donor_ids,
        row.target_ids,
        row.r_fit,
        row.r_heldout,
        row.null_quantile,
        row.p_value,
        dict(row.reasons),
        row.n_mutual_best,
        row.n_one_to_one,
    )


def matches_by_pair(matches: MatchSet) -> dict[LayerPair, Matches]:
    """The matches of every layer pair, target layer first."""
    return {(row.target, row.donor): matches_of(row) for row in matches.layers}


def recipe_of(row: LayerRecipe) -> Recipe:
    """The recipe of a layer, from what stage `fit` left."""

    def column(name: str) -> Float[Tensor, " n_chosen"]:
        return torch.tensor([getattr(atom, name) for atom in row.atoms], dtype=torch.float32)

    return Recipe(
        torch.tensor([atom.latent for atom in row.atoms], dtype=torch.int64),
        column("coefficient"),
        column("low"),
        column("high"),
        column("frequency"),
        row.eligible_mass,
        row.donor_cosine,
        row.n_eligible,
    )


def make_recipe(
    study: Study,
    eligible: Bool[Tensor, " d_sae"],
    donor_layer: int,
    positive: Float[Tensor, "n_positive d_donor"],
    negative: Float[Tensor, "n_negative d_donor"],
    direction: Float[Tensor, " d_donor"],
    *,
    generator: Generator,
    n_resamples: int | None = None,
) -> Recipe:
    """The recipe of one donor layer over eligible latents.

    Args:
        study: Gives SAEs and settings.
        eligible: Mask over the donor's latents.
        donor_layer: Which donor layer.
        positive: Residuals with the behavior.
        negative: Residuals without it.
        direction: The unit direction it is compared with.
        generator: Draws the resamples.
        n_resamples: Bootstrap draws; by default those of the configuration.
    """
    section, sae = study.config.fit, study.donor.sae(donor_layer)
    return fit_recipe(
        sae.encode(positive),
        sae.encode(negative),
        W_dec=sae.W_dec,
        direction=direction,
        eligible=eligible,
        n_atoms=section.n_atoms,
        mass=section.mass,
        n_resamples=n_resamples or section.n_resamples,
        generator=generator,
    )


def code_differences(
    study: Study, direction: DonorDirection, layer: int
) -> Float[Tensor, " d_sae"]:
    """Δz: mean code on positive minus mean code on negative donor prompts."""
    sae = study.donor.sae(layer)
    return sae.encode(direction.positive[layer]).mean(0) - sae.encode(
        direction.negative[layer]
    ).mean(0)


def support(delta: Float[Tensor, " d_sae"], matches: Matches, n_atoms: int) -> Int[Tensor, " n"]:
    """The eligible donor latents of largest |Δz|, at most n_atoms."""
    eligible = mask(matches.eligible_donor, len(delta))
    mass = torch.where(eligible, delta.abs(), torch.zeros(()))
    ids = mass.topk(min(n_atoms, int((mass > 0).sum()))).indices
    return ids.sort().values
