"""How alike two spaces are: CKA, concept fingerprints, projection agreement."""

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError


def linear_cka(x: Float[Tensor, "n d1"], y: Float[Tensor, "n d2"]) -> float:
    """Compute linear centred kernel alignment.

    Formula: ‖YᵀX‖_F² / (‖XᵀX‖_F ‖YᵀY‖_F) with centred columns.

    Args:
        x: One space at n sites.
        y: The other space at the same sites.

    Returns:
        The alignment in [0, 1]; 0 when a side does not vary.

    Raises:
        NumericsError: An entry is not finite.

    Source: Kornblith et al. 2019 (1905.00414), equation 4 and section 3.
    """
    centred_x, centred_y = _centred(x), _centred(y)
    scale = float((centred_x.T @ centred_x).norm() * (centred_y.T @ centred_y).norm())
    return float((centred_y.T @ centred_x).square().sum()) / scale if scale > 0 else 0.0


def fingerprint(
    atoms: Float[Tensor, "n_concepts d_model"],
) -> Float[Tensor, "n_concepts n_concepts"]:
    """Compute a layer's concept-by-concept similarity profile.

    Formula: G = ÃÃᵀ with Ã the atoms minus their mean, rows at unit norm.

    Args:
        atoms: One direction per concept, in the same order at every layer.

    Returns:
        The Gram matrix. Centring makes it rank-deficient, and its diagonal is constant, so compare
        off-diagonal entries only.

    Raises:
        NumericsError: A concept coincides with the mean of all, or an entry is not finite.

    Source: Cristofano 2026 (2601.16034), concept fingerprints.
    """
    require_finite("concept atoms", atoms)
    centred = _centred(atoms)
    norms = centred.norm(dim=1, keepdim=True)
    if bool((norms <= 1e-9 * atoms.to(torch.float64).norm()).any()):
        raise NumericsError(
            "a concept atom equals the mean of all atoms, so it has no fingerprint",
            expected="at least two concepts that differ",
            fix="leave the concept or the layer out",
        )
    unit = centred / norms
    return (unit @ unit.T).float()


def fingerprint_distance(
    a: Float[Tensor, "n_concepts n_concepts"], b: Float[Tensor, "n_concepts n_concepts"]
) -> float:
    """Compute how far two fingerprints are apart.

    Formula: root mean square of a_ij − b_ij over i ≠ j.

    Args:
        a: One fingerprint.
        b: The other, over the same concepts.

    Returns:
        The distance; the diagonal, which is constant, has no part in it.

    Raises:
        NumericsError: Fewer than two concepts, or an entry is not finite.
    """
    require_finite("fingerprint", a)
    require_finite("fingerprint", b)
    off = ~torch.eye(a.shape[0], dtype=torch.bool)
    if not bool(off.any()):
        raise NumericsError(
            "a fingerprint of one concept has no off-diagonal entry",
            expected="at least two concepts",
            fix="use more concepts",
        )
    difference = (a.cpu().to(torch.float64) - b.cpu().to(torch.float64))[off]
    return float(difference.square().mean().sqrt())


def projection_agreement(
    a: Float[Tensor, " n"], b: Float[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
) -> float:
    """Compute the (weighted) Pearson correlation of two projections over the same sites.

    Formula: cov(a, b) / (σ_a σ_b), and 0 when a side is constant.

    Args:
        a: For example donor sites on the donor direction.
        b: The same target sites on the rebuilt direction.
        weights: Positive weights of the sites; equal when None.

    Returns:
        The correlation.

    Raises:
        NumericsError: An entry is not finite.
    """
    require_finite("projections", torch.stack([a, b]))
    share = (torch.ones(len(a)) if weights is None else weights).to("cpu", torch.float64)
    share = share / share.sum()
    wide = [side.detach().to("cpu", torch.float64) for side in (a, b)]
    centred = [(side - share @ side) * share.sqrt() for side in wide]
    norms = [float(side.norm()) for side in centred]
    floors = [1e-12 * float((side * share.sqrt()).norm()) for side in wide]
    if norms[0] <= floors[0] or norms[1] <= floors[1]:
        return 0.0
    return float(centred[0] @ centred[1]) / (norms[0] * norms[1])


def _centred(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    require_finite("a compared space", x)
    wide = x.detach().to("cpu", torch.float64)
    return wide - wide.mean(0)
