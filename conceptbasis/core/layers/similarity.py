"""How alike two spaces are: CKA, RSA, concept fingerprints, projection agreement."""

import torch
from jaxtyping import Float
from scipy.stats import rankdata
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


def rsa(x: Float[Tensor, "n d1"], y: Float[Tensor, "n d2"]) -> float:
    """Compute representational similarity: do the same rows lie far apart in both spaces?

    Formula: Spearman correlation of 1 − corr(row_i, row_j), i < j, between the spaces.

    Args:
        x: One row per item; all pairs of rows are compared, so keep n to a few thousand.
        y: The same items in the other space.

    Returns:
        The rank correlation; 0 when the distances of a side do not vary.

    Raises:
        NumericsError: Fewer than three rows, or an entry is not finite.

    Source: Kriegeskorte et al. 2008.
    """
    if x.shape[0] < 3:
        raise NumericsError(
            f"{x.shape[0]} rows give too few distances to rank",
            expected="at least three rows",
            fix="use more sites or concepts",
        )
    ranks = [torch.from_numpy(rankdata(_row_distances(space).numpy())) for space in (x, y)]
    return projection_agreement(ranks[0], ranks[1])


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


def _row_distances(x: Float[Tensor, "n d"]) -> Float[Tensor, " n_pairs"]:
    """1 − correlation of every pair of rows; a constant row correlates with none."""
    require_finite("a compared space", x)
    wide = x.detach().to("cpu", torch.float64)
    centred = wide - wide.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    floor = 1e-12 * wide.norm(dim=1, keepdim=True)
    unit = torch.where(norms > floor, centred / norms.clamp(min=1e-300), torch.zeros_like(centred))
    rows, columns = torch.triu_indices(x.shape[0], x.shape[0], offset=1)
    # Rounding breaks ties between equal distances, which ranks would then amplify.
    return (1 - (unit @ unit.T)[rows, columns]).round(decimals=12)
