"""Singular-vector canonical correlation, from covariances that are summed batch by batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.core.statistics.moments import CONSTANT
from conceptbasis.errors import NumericsError

# Squared singular values below this share of the largest are rounding, not variance.
RANK_TOLERANCE = 1e-12
_BATCH = 4096


@dataclass(frozen=True)
class Svcca:
    """Mean canonical correlation with the kept dimensions; 0 when a side has no variance."""

    score: float
    k_x: int
    k_y: int
    correlations: Float[Tensor, " k"]


def svcca(
    x: Float[Tensor, "n d1"], y: Float[Tensor, "n d2"], *, keep_variance: float = 0.99
) -> Svcca:
    """Compute singular-vector canonical correlation of two sets of columns over the same rows.

    Formula: centre; keep the least k with Σ_{i≤k} s_i² ≥ keep_variance · Σ s_i² on each side;
    ρ = singular values of Q_xᵀQ_y, Q the kept left singular vectors; score = Σρ / min(k_x, k_y).

    Args:
        x: One space at n sites; dead columns and rank deficiency are allowed.
        y: The other space at the same sites.
        keep_variance: Share of the variance to keep, above 0 and at most 1.

    Returns:
        The score, the kept dimensions of both sides, and the canonical correlations.

    Raises:
        NumericsError: An entry is not finite, or keep_variance is not in (0, 1].

    Source: Raghu et al. 2017 (1706.05806), section 2.1. The variance test compares shares with
    shares: comparing a share with threshold × total always keeps one component.
    """
    if x.shape[0] >= 2 * max(x.shape[1], y.shape[1]):
        streamed = StreamingCovariances(x.shape[1], y.shape[1])
        for rows in zip(x.split(_BATCH), y.split(_BATCH), strict=True):
            streamed.update(*rows)
        return streamed.svcca(keep_variance=keep_variance)
    basis_x = _whitened(x, keep_variance)
    basis_y = _whitened(y, keep_variance)
    return _summary(_canonical(basis_x, basis_y), basis_x.shape[1], basis_y.shape[1])


class StreamingCovariances:
    """Covariances of two spaces and between them, summed batch by batch in float64.

    Memory is that of three matrices of the widths, whatever the number of sites.

    Args:
        d_x: Width of one space.
        d_y: Width of the other.
        products: Dtype in which a batch is multiplied; float32 takes half the time and leaves
            the scores as they are to about six digits.
        device: Where the sums are kept and the products made.
    """

    def __init__(
        self,
        d_x: int,
        d_y: int,
        *,
        products: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n, self._products, self._device = 0, products, torch.device(device)
        self._widths = (d_x, d_y)
        self._offsets: list[Tensor] = []
        self._sums = [self._zeros(d) for d in self._widths]
        self._raw = [self._zeros(d) for d in self._widths]
        self._cross = [self._zeros(a, b) for a, b in ((d_x, d_x), (d_y, d_y), (d_x, d_y))]

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self._device)

    def update(self, x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"]) -> None:
        """Add a batch of sites.

        Formula: Σ(x − c), Σ(x − c)(x − c)ᵀ and so on, c the mean of the first batch, which keeps
        a large mean from swallowing the digits of the variance.

        Args:
            x: One space.
            y: The other at the same sites.

        Raises:
            NumericsError: The shapes do not fit, or an entry is not finite.
        """
        if (x.shape[1], y.shape[1]) != self._widths or len(x) != len(y):
            raise NumericsError(
                f"batches of shapes {tuple(x.shape)} and {tuple(y.shape)}",
                expected=f"widths {self._widths} and equal numbers of sites",
                fix="give both spaces at the same sites",
            )
        require_finite("a compared space", x)
        require_finite("a compared space", y)
        wide = [side.detach().to(self._device, torch.float64) for side in (x, y)]
        if not self._offsets:
            self._offsets = [side.mean(0) for side in wide]
        self.n += len(x)
        shifted = [side - offset for side, offset in zip(wide, self._offsets, strict=True)]
        for place, side in enumerate(shifted):
            self._sums[place] += side.sum(0)
            self._raw[place] += wide[place].square().sum(0)
        a, b = (side.to(self._products) for side in shifted)
        for total, product in zip(self._cross, ((a, a), (b, b), (a, b)), strict=True):
            total += product[0].T @ product[1]

    def svcca(self, *, keep_variance: float = 0.99) -> Svcca:
        """The SVCCA of the sites seen so far.

        Formula: with C = V diag(λ) Vᵀ on each side and its leading part kept, ρ = singular values
        of λ_x^(−1/2) V_xᵀ C_xy V_y λ_y^(−1/2).

        Args:
            keep_variance: As in `svcca`.

        Raises:
            NumericsError: No site was seen, or keep_variance is not in (0, 1].
        """
        _check_share(keep_variance)
        if self.n == 0:
            raise NumericsError(
                "covariances of no sites are not defined",
                expected="at least one update with at least one site",
                fix="check that the text yields aligned sites",
            )
        x, y = (_half_inverse(self._own(i), keep_variance) for i in (0, 1))
        between = self._cross[2] - torch.outer(self._sums[0], self._sums[1]) / self.n
        correlations = torch.zeros(0, dtype=torch.float64)
        if x.shape[1] and y.shape[1]:
            correlations = torch.linalg.svdvals(x.T @ between @ y).clamp(0, 1).cpu()
        return _summary(correlations, x.shape[1], y.shape[1])

    def _own(self, side: int) -> Float[Tensor, "d d"]:
        """Σ(x − x̄)(x − x̄)ᵀ, exactly 0 for columns that are constant up to rounding."""
        total = self._cross[side] - torch.outer(self._sums[side], self._sums[side]) / self.n
        constant = total.diagonal() <= CONSTANT * self._raw[side]
        total[constant] = 0
        total[:, constant] = 0
        return total


def svcca_null(
    x: Float[Tensor, "n d1"],
    y: Float[Tensor, "n d2"],
    *,
    n_draws: int,
    generator: Generator,
    keep_variance: float = 0.99,
) -> Float[Tensor, " n_draws"]:
    """Compute the SVCCA scores that remain when the rows of y are paired at random.

    Formula: svcca(x, πy) for random permutations π of the rows.

    Args:
        x: One space at n sites.
        y: The other space at the same sites.
        n_draws: Number of permutations.
        generator: The source of randomness.
        keep_variance: As in `svcca`.

    Returns:
        One score per permutation.

    Raises:
        NumericsError: As in `svcca`.

    Source: Lan et al. 2024 (2410.06981), section 3 (random-pairing baseline).
    """
    basis_x = _whitened(x, keep_variance)
    basis_y = _whitened(y, keep_variance)
    scores = torch.zeros(n_draws)
    for draw in range(n_draws):
        order = torch.randperm(basis_y.shape[0], generator=generator)
        correlations = _canonical(basis_x, basis_y[order])
        scores[draw] = correlations.mean() if correlations.numel() else 0.0
    return scores


def _summary(correlations: Float[Tensor, " k"], k_x: int, k_y: int) -> Svcca:
    score = float(correlations.mean()) if correlations.numel() else 0.0
    return Svcca(score, k_x, k_y, correlations.float())


def _half_inverse(covariance: Float[Tensor, "d d"], keep_variance: float) -> Float[Tensor, "d k"]:
    """V λ^(−1/2) of the leading eigenvectors that hold keep_variance of the variance."""
    energy, vectors = torch.linalg.eigh(covariance)
    energy, vectors = energy.flip(0).clamp(min=0), vectors.flip(1)
    keep = _kept(energy, keep_variance)
    return vectors[:, keep] / energy[keep].sqrt()


def _check_share(keep_variance: float) -> None:
    if not 0 < keep_variance <= 1:
        raise NumericsError(
            f"keep_variance = {keep_variance}", expected="a share in (0, 1]", fix="use 0.99"
        )


def _whitened(x: Float[Tensor, "n d"], keep_variance: float) -> Float[Tensor, "n k"]:
    """Left singular vectors of the centred columns that hold keep_variance of the variance."""
    _check_share(keep_variance)
    require_finite("a compared space", x)
    centred = x.detach().to("cpu", torch.float64)
    centred = centred - centred.mean(0)
    # A constant column leaves rounding behind; it must not become a whitened dimension.
    raw = x.detach().to("cpu", torch.float64)
    centred[:, centred.norm(dim=0) <= 1e-12 * raw.norm(dim=0)] = 0
    if x.shape[0] >= 2 * x.shape[1]:
        energy, vectors = torch.linalg.eigh(centred.T @ centred)
        energy, vectors = energy.flip(0).clamp(min=0), vectors.flip(1)
        keep = _kept(energy, keep_variance)
        return (centred @ vectors[:, keep]) / energy[keep].sqrt()
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    return left[:, _kept(singular.square(), keep_variance)]


def _kept(energy: Float[Tensor, " d"], keep_variance: float) -> Bool[Tensor, " d"]:
    """Mask of the least leading components whose share of the energy reaches keep_variance."""
    if energy.numel() == 0 or float(energy[0]) <= 0:
        return torch.zeros_like(energy, dtype=torch.bool)
    before = (energy.cumsum(0) - energy) / energy.sum()
    real = energy > RANK_TOLERANCE * energy[0]
    return (before < keep_variance * (1 - 1e-12)) & real


def _canonical(
    basis_x: Float[Tensor, "n k_x"], basis_y: Float[Tensor, "n k_y"]
) -> Float[Tensor, " k"]:
    if 0 in (basis_x.shape[1], basis_y.shape[1]):
        return torch.zeros(0, dtype=torch.float64)
    return torch.linalg.svdvals(basis_x.T @ basis_y).clamp(0, 1)
