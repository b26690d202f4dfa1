"""The recipe rebuilt in the target: three bases and the dense baseline, one result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.features.matches import Matches
from conceptbasis.core.features.partners import FeatureStats
from conceptbasis.core.features.sparse import ridge_from_moments
from conceptbasis.core.statistics.finite import unit_vector
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.errors import NumericsError

Readout: TypeAlias = Callable[[Int[Tensor, " n_ids"]], StreamingMoments]
"""Moments over transfer sites from the codes of target features to target residuals."""


@dataclass(frozen=True)
class Rebuilt:
    """A direction of the target, the steering vector behind it, and its target features.

    `direction` is `steering` at unit norm, unless benign variance was spared (`core.sparing`). The
    target features are empty for bases that do not go through target codes; otherwise steering =
    Σ coefficient · row of the feature.
    """

    direction: Float[Tensor, " d_target"]
    steering: Float[Tensor, " d_target"]
    target_ids: Int[Tensor, " n_chosen"]
    target_coefficients: Float[Tensor, " n_chosen"]


def rebuild_code_map(
    recipe: Recipe,
    moments: StreamingMoments,
    readout: Readout,
    *,
    outputs: Int[Tensor, " n_outputs"],
    W_dec_target: Float[Tensor, "d_sae_target d_target"],
    strength: float,
    n_atoms: int = 32,
) -> Rebuilt:
    """Map the recipe's codes to target codes and sum what the largest of these stand for.

    Formula: Δz' = Δz_S B with B the ridge map of target codes on the recipe's donor codes; T = the
    n_atoms outputs of largest |Δz'_k|·‖d'_k‖; steering = Σ_{k∈T} Δz'_k b_k, with b_k the rows of
    the ridge map of target residuals on the codes of T. The rows
    b_k stand in for the decoder rows d'_k because an SAE leaves out a part of the residual that
    goes with its features; on sites without that part they are the same.

    Args:
        recipe: The donor recipe, with support S.
        moments: Moments over transfer sites from the donor codes of S, in the recipe's order, to
            the codes of the outputs.
        readout: Gives, for target features, the moments from their codes to target residuals.
        outputs: Target features of the moments, which may be used (matched ones).
        W_dec_target: Target decoder rows d'_k, of any norm.
        strength: Strength of both ridge maps, relative to the mean variance of their inputs.
        n_atoms: Most target features to use.

    Returns:
        The rebuilt direction with its target features, largest first.

    Raises:
        NumericsError: The moments do not belong to the recipe, none of its features fired, no
            target feature is left, or the result is zero.

    Source: design of this library, the default basis.
    """
    _require_inputs(recipe, moments)
    if n_atoms < 1 or moments.d_out != outputs.numel():
        raise NumericsError(
            f"moments to {moments.d_out} target codes, {outputs.numel()} outputs, "
            f"n_atoms = {n_atoms}",
            expected="one code per output, and at least one atom",
            fix="accumulate the moments on the codes at outputs",
        )
    mapped = _mapped(recipe.coefficients, moments, strength)
    norms = torch.linalg.vector_norm(W_dec_target[outputs], dim=1, dtype=torch.float64)
    mass = mapped.abs() * norms
    best = mass.topk(min(n_atoms, mass.numel())).indices
    best = best[mass[best] > 0]
    ids = outputs[best]
    _require_features(ids)
    written = readout(ids)
    rows = ridge_from_moments(written.cov_xx, written.cov_xy, strength=strength)
    return _from_rows(ids, mapped[best], rows)


def rebuild_transported(recipe: Recipe, moments: StreamingMoments, *, strength: float) -> Rebuilt:
    """Map the recipe's codes straight to the target's residual stream.

    Formula: steering = Δz_S B_x with B_x the ridge map of target residuals on the donor codes.

    Args:
        recipe: The donor recipe, with support S.
        moments: Moments over transfer sites from the donor codes of S, in the recipe's order, to
            target residuals.
        strength: Ridge strength relative to the mean variance of the donor codes.

    Returns:
        The rebuilt direction; no target features.

    Raises:
        NumericsError: The moments do not belong to the recipe, none of its features fired, or the
            result is zero.

    Source: design of this library, an ablation of the default basis.
    """
    _require_inputs(recipe, moments)
    return dense_rebuilt(_mapped(recipe.coefficients, moments, strength))


def rebuild_matched(
    recipe: Recipe,
    matches: Matches,
    donor: FeatureStats,
    target: FeatureStats,
    *,
    W_dec_target: Float[Tensor, "d_sae_target d_target"],
) -> Rebuilt:
    """Replace each recipe feature by its best match, scaled by the slope between their codes.

    Formula: steering = Σ_k Δz_k β_k d'_{t(k)}, β_k = cov(z_k, z'_t) / var(z_k) = r σ'_t / σ_k.
    Coefficients of features with the same match add; features without a match are left out.

    Args:
        recipe: The donor recipe.
        matches: Eligible pairs.
        donor: Statistics of the donor's features over the sites that the pairs were chosen on.
        target: Statistics of the target's features there.
        W_dec_target: Target decoder rows.

    Returns:
        The rebuilt direction with its target features, by id.

    Raises:
        NumericsError: No recipe feature has a match, or the result is zero.

    Source: design of this library, an ablation of the default basis.
    """
    total: dict[int, float] = {}
    for feature, coefficient in zip(
        recipe.feature_ids.tolist(), recipe.coefficients.tolist(), strict=True
    ):
        place = matches.best_pair(feature)
        if place is None or float(donor.sd[feature]) == 0:
            continue
        partner = int(matches.target_ids[place])
        slope = float(matches.r_fit[place] * target.sd[partner] / donor.sd[feature])
        total[partner] = total.get(partner, 0.0) + coefficient * slope
    ids = torch.tensor(sorted(total), dtype=torch.int64)
    coefficients = torch.tensor([total[i] for i in sorted(total)], dtype=torch.float64)
    _require_features(ids)
    return _from_rows(ids, coefficients, W_dec_target[ids])


def rebuild_least_squares(
    delta_x: Float[Tensor, " d_donor"], moments: StreamingMoments, *, strength: float
) -> Rebuilt:
    """Map the donor's mean difference by a dense ridge map of residuals: the baseline.

    Formula: steering = Δx B, B = ridge of target on donor residuals.

    Args:
        delta_x: Donor mean difference, not normalised.
        moments: Moments over transfer sites from donor to target residuals.
        strength: Ridge strength relative to the mean variance of the donor residuals.

    Returns:
        The rebuilt direction; no target features.

    Raises:
        NumericsError: The widths differ, or the result is zero.

    Source: 2506.00653; 2501.02009.
    """
    if moments.d_in != delta_x.numel():
        raise NumericsError(
            f"a donor difference of width {delta_x.numel()} and moments of {moments.d_in} inputs",
            expected="equal widths",
            fix="accumulate the moments on the residuals of the same donor layer",
        )
    return dense_rebuilt(_mapped(delta_x, moments, strength))


def _require_inputs(recipe: Recipe, moments: StreamingMoments) -> None:
    n_features = recipe.feature_ids.numel()
    if n_features == 0 or moments.d_in != n_features:
        raise NumericsError(
            f"a recipe of {n_features} features and moments of {moments.d_in} inputs",
            expected="a recipe that is not empty, and one input per feature in its order",
            fix="accumulate the moments on the codes at recipe.feature_ids",
        )


def _mapped(
    delta: Float[Tensor, " d_in"], moments: StreamingMoments, strength: float
) -> Float[Tensor, " d_out"]:
    """The difference sent through the ridge map."""
    B = ridge_from_moments(moments.cov_xx, moments.cov_xy, strength=strength)
    return delta.to(torch.float64) @ B


def _require_features(ids: Int[Tensor, " n_chosen"]) -> None:
    if ids.numel() == 0:
        raise NumericsError(
            "no target feature carries any part of the recipe",
            expected="at least one matched target feature with a coefficient that is not zero",
            fix="loosen the matching, or use transfer text in which the recipe's features fire",
        )


def _from_rows(
    ids: Int[Tensor, " n_chosen"],
    coefficients: Float[Tensor, " n_chosen"],
    rows: Float[Tensor, "n_chosen d_target"],
) -> Rebuilt:
    steering = coefficients @ rows.to(torch.float64)
    direction = unit_vector("rebuilt steering vector", steering)
    return Rebuilt(direction.float(), steering.float(), ids, coefficients.float())


def dense_rebuilt(steering: Float[Tensor, " d_target"]) -> Rebuilt:
    """A result that names no target feature.

    Formula: direction = steering / ‖steering‖.

    Args:
        steering: The steering vector.

    Returns:
        The rebuilt direction.

    Raises:
        NumericsError: It is zero or not finite.
    """
    direction = unit_vector("rebuilt steering vector", steering)
    nothing = torch.zeros(0, dtype=torch.int64)
    return Rebuilt(direction.float(), steering.float(), nothing, torch.zeros(0))
