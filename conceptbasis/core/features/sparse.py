"""Linear solvers: orthogonal matching pursuit and ridge from accumulated moments."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError


def omp(
    dictionary: Float[Tensor, "n_atoms d_model"],
    target: Float[Tensor, " d_model"],
    *,
    n_nonzero: int,
) -> tuple[Int[Tensor, " n_chosen"], Float[Tensor, " n_chosen"]]:
    """Write a vector as a sparse sum of atoms, greedily.

    Formula: repeat k* = argmax_k |d_kᵀρ| / ‖d_k‖, c = argmin ‖target − Σ_chosen c_k d_k‖,
    ρ = target − Σ c_k d_k.

    Args:
        dictionary: One atom per row; zero rows are never chosen.
        target: The vector to write.
        n_nonzero: Most atoms to use; fewer are used when nothing is left to explain.

    Returns:
        Atom ids in the order of choice, and their coefficients (float64, for the rows as given).

    Raises:
        NumericsError: n_nonzero is below 1, or an entry is not finite.

    Source: Pati, Rezaiifar and Krishnaprasad 1993.
    """
    require_finite("dictionary", dictionary)
    require_finite("target", target)
    if n_nonzero < 1:
        raise NumericsError(f"n_nonzero = {n_nonzero}", expected="at least 1", fix="raise it")
    atoms, goal = dictionary.to(torch.float64), target.to(torch.float64)
    norms = atoms.norm(dim=1)
    usable = norms > 0
    chosen: list[int] = []
    coefficients = torch.zeros(0, dtype=torch.float64)
    residual = goal
    while len(chosen) < min(n_nonzero, *atoms.shape):
        gain = (atoms @ residual).abs() / norms.clamp(min=1e-300)
        gain = torch.where(usable, gain, torch.zeros_like(gain))
        best = int(gain.argmax())
        if float(gain[best]) <= 1e-12 * float(goal.norm()):
            break
        chosen.append(best)
        usable[best] = False
        support = atoms[chosen].T
        coefficients = torch.linalg.lstsq(support, goal[:, None]).solution[:, 0]
        residual = goal - support @ coefficients
    return torch.tensor(chosen, dtype=torch.int64), coefficients


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
