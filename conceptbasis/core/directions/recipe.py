"""The recipe: which features a direction is made of, and with what coefficients."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from conceptbasis.core.directions.difference import mean_difference
from conceptbasis.core.statistics.finite import unit_vector
from conceptbasis.core.statistics.intervals import Interval
from conceptbasis.errors import NumericsError

# A feature chosen in fewer of the resamples than this is marked unstable.
_ROUNDING = 1e-5
"""Share of a recipe's mass below which what is left of it is rounding."""
STABLE = 0.5


@dataclass(frozen=True)
class Recipe:
    """Donor features with signed coefficients, largest contribution first.

    `low` and `high` bound each coefficient, `selection_frequency` is the share of resamples that
    choose the feature too. `eligible_mass` is the share of Σ|Δz|·‖d‖ on eligible features.
    `donor_cosine` is 0 for an empty recipe.
    """

    feature_ids: Int[Tensor, " n_chosen"]
    coefficients: Float[Tensor, " n_chosen"]
    low: Float[Tensor, " n_chosen"]
    high: Float[Tensor, " n_chosen"]
    selection_frequency: Float[Tensor, " n_chosen"]
    eligible_mass: Interval
    donor_cosine: float
    n_eligible: int

    @property
    def unstable(self) -> Bool[Tensor, " n_chosen"]:
        """Features that fewer than half of the resamples choose."""
        return self.selection_frequency < STABLE


def fit_recipe(
    positive_codes: Float[Tensor, "n_positive d_sae"],
    negative_codes: Float[Tensor, "n_negative d_sae"],
    *,
    W_dec: Float[Tensor, "d_sae d_model"],
    direction: Float[Tensor, " d_model"],
    eligible: Bool[Tensor, " d_sae"],
    n_atoms: int = 32,
    mass: float = 1.0,
    n_resamples: int = 200,
    generator: Generator,
) -> Recipe:
    """Write a direction as the code differences of its largest eligible features.

    Formula: Δz = mean positive − mean negative codes; of the n_atoms eligible k of largest
    |Δz_k|·‖d_k‖, the support is the fewest that hold the share `mass` of these; donor cosine =
    cos(Σ Δz_k d_k, r). Coefficients are never refit to r:
    reconstruction coefficients do not carry over to another model.

    Args:
        positive_codes: Donor codes at the end of positive prompts.
        negative_codes: The same for negative prompts.
        W_dec: Decoder rows d_k, of any norm.
        direction: The donor direction r.
        eligible: Features that a recipe may use.
        n_atoms: Most features to use; fewer where fewer are eligible and differ.
        mass: Share of these features' |Δz|·‖d‖ that the smallest ones are left out beyond: they
            differ from one set of prompts to the next.
        n_resamples: Bootstrap draws over prompts, within each class.
        generator: The source of randomness.

    Returns:
        The recipe, with percentile intervals per coefficient. The interval of the eligible mass is
        centred on its value, because resampling inflates |Δz| of silent features.

    Raises:
        NumericsError: A side is empty or not finite, the direction is zero, or a setting is out of
            range.

    Source: design of this library; bootstrap: Efron and Tibshirani 1993, chapter 13.
    """
    _require_counts(n_atoms, n_resamples)
    if not 0 < mass <= 1:
        raise NumericsError(
            f"a recipe that holds the share {mass} of its mass",
            expected="a share above 0 and at most 1",
            fix="use 1 to keep every atom",
        )
    unit_vector("donor direction", direction)
    weight = torch.linalg.vector_norm(W_dec, dim=1, dtype=torch.float64)
    delta = mean_difference(positive_codes, negative_codes)
    ids = _support(delta.abs() * weight, eligible, n_atoms, mass)
    draws = _resampled_differences(positive_codes, negative_codes, n_resamples, generator)
    masses = draws.abs() * weight
    low, high = _bounds(draws[:, ids])
    chosen = torch.zeros_like(weight)
    for drawn in masses:
        chosen[_support(drawn, eligible, n_atoms, mass)] += 1
    n_prompts = positive_codes.shape[0] + negative_codes.shape[0]
    return Recipe(
        feature_ids=ids,
        coefficients=delta[ids].float(),
        low=low.float(),
        high=high.float(),
        selection_frequency=(chosen[ids] / n_resamples).float(),
        eligible_mass=_eligible_mass(delta.abs() * weight, masses, eligible, n_prompts),
        donor_cosine=_cosine(
            delta[ids] @ W_dec[ids].to(torch.float64),
            direction,
            nothing=_ROUNDING * float((delta[ids].abs() * W_dec[ids].norm(dim=1)).sum()),
        ),
        n_eligible=int(eligible.sum()),
    )


def _require_counts(n_atoms: int, n_resamples: int) -> None:
    if n_atoms < 1 or n_resamples < 1:
        raise NumericsError(
            f"n_atoms = {n_atoms}, n_resamples = {n_resamples}",
            expected="at least 1 of either",
            fix="raise them",
        )


def _support(
    mass: Float[Tensor, " d_sae"], eligible: Bool[Tensor, " d_sae"], n_atoms: int, share: float
) -> Int[Tensor, " n_chosen"]:
    """Eligible features of largest positive mass, largest first, until a share of it is held."""
    allowed = mass * eligible
    ids = allowed.topk(min(n_atoms, allowed.numel())).indices
    ids = ids[allowed[ids] > 0]
    before = allowed[ids].cumsum(0) - allowed[ids]
    return ids[before < share * allowed[ids].sum()]


def _resampled_differences(
    positive: Float[Tensor, "n_positive d_sae"],
    negative: Float[Tensor, "n_negative d_sae"],
    n_resamples: int,
    generator: Generator,
) -> Float[Tensor, "n_resamples d_sae"]:
    """Δz under prompts drawn with replacement within each class."""
    means = []
    for codes in (positive, negative):
        n = codes.shape[0]
        drawn = torch.randint(n, (n_resamples, n), generator=generator)
        counts = torch.zeros(n_resamples, n, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        means.append(counts @ codes.to("cpu", torch.float64) / n)
    return means[0] - means[1]


def _bounds(
    draws: Float[Tensor, "n_resamples n_chosen"],
) -> tuple[Float[Tensor, " n_chosen"], Float[Tensor, " n_chosen"]]:
    """The 95 % percentile interval of each column."""
    if draws.shape[1] == 0:
        return draws.new_zeros(0), draws.new_zeros(0)
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.quantile(draws, tails, dim=0)
    return low, high


def _eligible_mass(
    mass: Float[Tensor, " d_sae"],
    masses: Float[Tensor, "n_resamples d_sae"],
    eligible: Bool[Tensor, " d_sae"],
    n_prompts: int,
) -> Interval:
    """Eligible share of the mass, with the spread of the resampled shares around it."""
    if float(mass.sum()) == 0:
        raise NumericsError(
            "no latent tells positive from negative prompts: every code difference is zero",
            expected="latents that differ in mean between the two prompt sets",
            fix="check that the SAE fires on the end of the prompts",
        )
    value = float(mass[eligible].sum() / mass.sum())
    shares = masses[:, eligible].sum(1) / masses.sum(1).clamp(min=1e-300)
    points = torch.tensor([0.025, 0.5, 0.975], dtype=torch.float64)
    low, middle, high = torch.quantile(shares, points).tolist()
    return Interval(
        value, max(0.0, value + low - middle), min(1.0, value + high - middle), n_prompts
    )


def _cosine(
    rebuilt: Float[Tensor, " d_model"],
    direction: Float[Tensor, " d_model"],
    *,
    nothing: float = 0.0,
) -> float:
    """Cosine with the donor direction; 0 when nothing, or only rounding, was rebuilt."""
    norm = float(rebuilt.norm())
    if norm <= nothing:
        return 0.0
    return float(rebuilt @ unit_vector("donor direction", direction)) / norm
