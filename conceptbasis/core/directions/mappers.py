"""The maps of the comparison: affine, orthogonal, and a basis of contrast atoms.

Each of them moves a direction from donor to target by other means than features: a dense linear map
of residuals, a rotation, or coefficients over named concepts that both models know.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.directions.rebuild import Rebuilt, dense_rebuilt
from conceptbasis.core.features.sparse import ridge_from_moments
from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class AffineMap:
    """y ≈ x B + b, in float64; differences are moved by B alone."""

    weight: Float[Tensor, "d_donor d_target"]
    offset: Float[Tensor, " d_target"]

    def __call__(self, x: Float[Tensor, "*batch d_donor"]) -> Float[Tensor, "*batch d_target"]:
        """Send points through the map.

        Formula: x B + b.

        Args:
            x: Donor points, for example a mean.

        Returns:
            Target points, float64.
        """
        return x.to("cpu", torch.float64) @ self.weight + self.offset


def fit_affine_map(moments: StreamingMoments, *, strength: float) -> AffineMap:
    """Fit target residuals as an affine function of donor residuals, by ridge with an intercept.

    Formula: B = (C_xx + λ · mean(diag C_xx) · I)⁻¹ C_xy, b = ȳ − x̄ B; the intercept is not
    penalised, which is what centring both sides does.

    Args:
        moments: Moments over transfer sites from donor to target residuals.
        strength: λ, relative to the mean variance of the donor residuals.

    Returns:
        The map. Its linear part is that of `rebuild_least_squares`, so both move a difference
        alike; only the affine map can move a point.

    Raises:
        NumericsError: No site was seen, no input varies, or the system is singular.

    Source: Bello et al. 2025 (2506.00653), affine maps of hidden states; Oozeer et al. 2025
    (2503.04429), affine mapper. The ridge penalty is ours.
    """
    weight = ridge_from_moments(moments.cov_xx, moments.cov_xy, strength=strength)
    return AffineMap(weight, moments.mean_y - moments.mean_x @ weight)


def fit_orthogonal_map(moments: StreamingMoments) -> AffineMap:
    """Fit the rotation that brings centred donor residuals nearest to centred target residuals.

    Formula: C_xy = U S Vᵀ, B = U Vᵀ, the maximiser of tr(Bᵀ C_xy) over maps with orthonormal rows
    (d_donor ≤ d_target) or columns (d_donor ≥ d_target); for equal widths the minimiser of
    Σ‖y − ȳ − (x − x̄) B‖². b = ȳ − x̄ B.

    Args:
        moments: Moments over transfer sites from donor to target residuals.

    Returns:
        The map; it has no strength to choose.

    Raises:
        NumericsError: No site was seen, or the sides do not vary together.

    Source: Schönemann 1966, the orthogonal Procrustes problem.
    """
    cross = moments.cov_xy
    require_finite("cross covariance", cross)
    left, singular, right = torch.linalg.svd(cross, full_matrices=False)
    if float(singular[0]) <= 1e-12 * float(moments.var_y.max().clamp(min=1e-300)):
        raise NumericsError(
            "donor and target residuals do not vary together",
            expected="a cross covariance that is not zero",
            fix="use more transfer text, or other layers",
        )
    weight = left @ right
    return AffineMap(weight, moments.mean_y - moments.mean_x @ weight)


def rebuild_by_map(delta_x: Float[Tensor, " d_donor"], mapped: AffineMap) -> Rebuilt:
    """Send the donor's mean difference through a map.

    Formula: steering = Δx B.

    Args:
        delta_x: Donor mean difference, not normalised.
        mapped: The map.

    Returns:
        The rebuilt direction; no target features.

    Raises:
        NumericsError: The widths differ, or the result is zero.
    """
    if mapped.weight.shape[0] != delta_x.numel():
        raise NumericsError(
            f"a donor difference of width {delta_x.numel()} and a map of "
            f"{mapped.weight.shape[0]} inputs",
            expected="equal widths",
            fix="fit the map on the residuals of the same donor layer",
        )
    return dense_rebuilt(delta_x.to("cpu", torch.float64) @ mapped.weight)


def layer_at_depth(target: int, n_target: int, n_donor: int) -> int:
    """The donor layer nearest in relative depth.

    Formula: round(j / (L' − 1) · (L − 1)), halves downwards.

    Args:
        target: Target layer j.
        n_target: Target layers L'.
        n_donor: Donor layers L.

    Returns:
        A donor layer; the first and the last layers stand for each other.

    Raises:
        NumericsError: The target layer does not exist, or a model has no layer.
    """
    if not 0 <= target < n_target or n_donor < 1:
        raise NumericsError(
            f"layer {target} of {n_target} has no counterpart among {n_donor} layers",
            expected="a layer of the target, and a donor with layers",
            fix="count the layers of both models",
        )
    depth = target / max(1, n_target - 1) * (n_donor - 1)
    return min(range(n_donor), key=lambda layer: abs(layer - depth))


def fit_contrast_recipe(
    direction: Float[Tensor, " d_donor"],
    atoms: Float[Tensor, "n_concepts d_donor"],
    *,
    strength: float,
) -> Float[Tensor, " n_concepts"]:
    """Write the donor's direction as a sum of its concept atoms.

    Formula: c = argmin ‖r − Σ_k c_k a_k‖² + λ · mean_k‖a_k‖² · ‖c‖²
    = (A Aᵀ + λ · mean(diag A Aᵀ) · I)⁻¹ A r.

    Args:
        direction: The donor direction r.
        atoms: Concept atoms a_k of the same layer: mean on positive prompts minus mean on hard
            negatives.
        strength: λ.

    Returns:
        One signed coefficient per concept, float64.

    Raises:
        NumericsError: An entry is not finite, all atoms are zero, or they are dependent and λ
            does not resolve it.

    Source: Cristofano 2026 (2601.16034), concept-basis reconstruction.
    """
    require_finite("donor direction", direction)
    wide = atoms.to("cpu", torch.float64)
    gram, projected = wide @ wide.T, wide @ direction.to("cpu", torch.float64)
    return ridge_from_moments(gram, projected[:, None], strength=strength)[:, 0]


def rebuild_contrast(
    coefficients: Float[Tensor, " n_concepts"], atoms: Float[Tensor, "n_concepts d_target"]
) -> Rebuilt:
    """Apply coefficients over donor atoms to the target's atoms of the same concepts.

    Formula: steering = Σ_k c_k a'_k.

    Args:
        coefficients: Those of `fit_contrast_recipe`.
        atoms: The target's atoms, concepts in the same order.

    Returns:
        The rebuilt direction; no target features.

    Raises:
        NumericsError: The result is zero or not finite.

    Source: Cristofano 2026 (2601.16034), concept-basis reconstruction.
    """
    return dense_rebuilt(coefficients.to(torch.float64) @ atoms.to("cpu", torch.float64))
