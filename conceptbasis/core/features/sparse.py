"""Ridge regression from accumulated moments."""

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError


def ridge_from_moments(
    cov_xx: Float[Tensor, "d_in d_in"], cov_xy: Float[Tensor, "d_in d_out"], *, strength: float
) -> Float[Tensor, "d_in d_out"]:
    """Solve a ridge regression from covariances alone.

    Formula: B = (C_xx + λ · mean(diag C_xx) · I)⁻¹ C_xy, so that y ≈ ȳ + Bᵀ(x − x̄).

    Args:
        cov_xx: Covariance of the inputs.
        cov_xy: Covariance of inputs with outputs.
        strength: λ, relative to the mean input variance.

    Returns:
        The map, float64; inputs that never vary get a zero row.

    Raises:
        NumericsError: No input varies, strength is negative, or the system is singular.

    Source: Hoerl and Kennard 1970.
    """
    require_finite("input covariance", cov_xx)
    require_finite("cross covariance", cov_xy)
    gram = cov_xx.to(torch.float64)
    scale = float(gram.diagonal().mean()) if gram.numel() else 0.0
    if scale <= 0 or strength < 0:
        raise NumericsError(
            f"ridge with mean input variance {scale} and strength {strength} is not defined",
            expected="inputs that vary, and a strength of at least 0",
            fix="use sites at which the recipe's features are active",
        )
    eye = torch.eye(gram.shape[0], dtype=torch.float64)
    factor, failed = torch.linalg.cholesky_ex(gram + strength * scale * eye)
    # A pivot of rounding size is a singular system that cholesky did not notice.
    if int(failed) or float(factor.diagonal().min()) ** 2 <= 1e-14 * scale:
        raise NumericsError(
            f"the inputs are linearly dependent and strength {strength} does not resolve it",
            expected="a positive definite system",
            fix="raise the ridge strength",
        )
    return torch.cholesky_solve(cov_xy.to(torch.float64), factor)
