"""Streaming sums over sites: moments, and explained variance."""

import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.statistics.batches import column_sums, cross, require_shape, squared, wide
from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError

# Below this share of the raw second moment, a variance is rounding and the feature is constant.
CONSTANT = 1e-12

_SUMS = ("sum_x", "sum_y", "sum_yy", "sum_xx", "sum_xy")


def moments_bytes(d_in: int, d_out: int) -> int:
    """Compute what an accumulator of `StreamingMoments` takes.

    Formula: 8 · (d_in² + d_in · d_out + d_in + 2 · d_out).

    Args:
        d_in: Width of the inputs.
        d_out: Width of the outputs.

    Returns:
        Bytes.
    """
    return 8 * (d_in * d_in + d_in * d_out + d_in + 2 * d_out)


class StreamingMoments:
    """First and second moments of inputs x and outputs y, summed batch by batch in float64.

    Covariances divide by n, not by n − 1. Memory is `moments_bytes`, whatever the number of sites.

    Args:
        d_in: Width of x.
        d_out: Width of y.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        self.d_in, self.d_out = d_in, d_out
        self.n = 0.0
        self.sum_x = torch.zeros(d_in, dtype=torch.float64)
        self.sum_y = torch.zeros(d_out, dtype=torch.float64)
        self.sum_yy = torch.zeros(d_out, dtype=torch.float64)
        self.sum_xx = torch.zeros(d_in, d_in, dtype=torch.float64)
        self.sum_xy = torch.zeros(d_in, d_out, dtype=torch.float64)

    def update(
        self,
        x: scipy.sparse.csr_matrix | Float[Tensor, "n_sites d_in"],
        y: scipy.sparse.csr_matrix | Float[Tensor, "n_sites d_out"],
    ) -> None:
        """Add a batch of aligned sites.

        Formula: Σx, Σy, Σy², Σxxᵀ, Σxyᵀ.

        Args:
            x: Inputs, sparse or dense.
            y: Outputs at the same sites, sparse or dense.

        Raises:
            NumericsError: The shapes do not fit, or an entry is not finite.
        """
        require_shape("x", x, self.d_in, y.shape[0])
        require_shape("y", y, self.d_out, x.shape[0])
        wide_x, wide_y = wide(x), wide(y)
        self.n += int(x.shape[0])
        self.sum_x += column_sums(wide_x)
        self.sum_y += column_sums(wide_y)
        self.sum_yy += column_sums(squared(wide_y))
        self.sum_xx += cross(wide_x, wide_x)
        self.sum_xy += cross(wide_x, wide_y)

    def merge(self, other: "StreamingMoments") -> "StreamingMoments":
        """Return the accumulator that has seen the sites of both.

        Formula: sums add.

        Args:
            other: An accumulator of the same widths.

        Returns:
            A new accumulator; both operands stay as they are.

        Raises:
            NumericsError: The widths differ.
        """
        if (self.d_in, self.d_out) != (other.d_in, other.d_out):
            raise NumericsError(
                f"moments of widths {self.d_in}→{self.d_out} and {other.d_in}→{other.d_out} differ",
                expected="equal widths",
                fix="merge only accumulators of the same pair of spaces",
            )
        merged = StreamingMoments(self.d_in, self.d_out)
        merged.n = self.n + other.n
        for name in _SUMS:
            setattr(merged, name, getattr(self, name) + getattr(other, name))
        return merged

    def scaled(self, weight: float) -> "StreamingMoments":
        """Return the accumulator in which every site seen so far counts `weight` times.

        Formula: sums and number of sites times the weight.

        Args:
            weight: Positive; not necessarily a whole number.

        Returns:
            A new accumulator; `merge` mixes it with others.

        Raises:
            NumericsError: The weight is not positive and finite.
        """
        if not 0 < weight < float("inf"):
            raise NumericsError(
                f"sites of weight {weight}", expected="a positive weight", fix="leave them out"
            )
        copy = StreamingMoments(self.d_in, self.d_out)
        copy.n = self.n * weight
        for name in _SUMS:
            setattr(copy, name, getattr(self, name) * weight)
        return copy

    def select_inputs(self, ids: Int[Tensor, " n_ids"]) -> "StreamingMoments":
        """Return the moments of some inputs only, in the order asked for.

        Formula: rows (and columns) of the sums at ids.

        Args:
            ids: Input columns to keep.

        Returns:
            A new accumulator of width len(ids) → d_out.
        """
        part = StreamingMoments(ids.numel(), self.d_out)
        part.n = self.n
        part.sum_x, part.sum_xy = self.sum_x[ids], self.sum_xy[ids]
        part.sum_xx = self.sum_xx[ids][:, ids]
        part.sum_y, part.sum_yy = self.sum_y.clone(), self.sum_yy.clone()
        return part

    @property
    def mean_x(self) -> Float[Tensor, " d_in"]:
        """Mean input."""
        return self.sum_x / self._count()

    @property
    def mean_y(self) -> Float[Tensor, " d_out"]:
        """Mean output."""
        return self.sum_y / self._count()

    @property
    def cov_xx(self) -> Float[Tensor, "d_in d_in"]:
        """Covariance of the inputs, E[xxᵀ] − E[x]E[x]ᵀ."""
        return self.sum_xx / self._count() - torch.outer(self.mean_x, self.mean_x)

    @property
    def cov_xy(self) -> Float[Tensor, "d_in d_out"]:
        """Covariance of inputs with outputs, E[xyᵀ] − E[x]E[y]ᵀ."""
        return self.sum_xy / self._count() - torch.outer(self.mean_x, self.mean_y)

    @property
    def var_y(self) -> Float[Tensor, " d_out"]:
        """Variance of each output; exactly 0 where the output is constant."""
        return variance(self.sum_yy / self._count(), self.mean_y)

    def _count(self) -> float:
        if self.n == 0:
            raise NumericsError(
                "moments of no sites are not defined",
                expected="at least one update with at least one site",
                fix="check that the text yields aligned sites",
            )
        return self.n


def explained_variance(
    x: Float[Tensor, "n_sites d_model"], reconstruction: Float[Tensor, "n_sites d_model"]
) -> float:
    """Compute the share of the variance of x that a reconstruction explains.

    Formula: 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖².

    Args:
        x: Vectors.
        reconstruction: Their reconstructions.

    Returns:
        The share, 1 when perfect, below 0 when worse than the mean.

    Raises:
        NumericsError: x does not vary, or an entry is not finite.
    """
    require_finite("x", x)
    require_finite("reconstruction", reconstruction)
    exact = x.to(torch.float64)
    total = float((exact - exact.mean(0)).square().sum())
    if total <= CONSTANT * float(exact.square().sum()):
        raise NumericsError(
            "the variance of x is zero, so no share of it can be explained",
            expected="at least two different rows",
            fix="use more sites",
        )
    return 1 - float((exact - reconstruction.to(torch.float64)).square().sum()) / total


def variance(mean_square: Tensor, mean: Tensor) -> Tensor:
    """E[z²] − E[z]², with rounding of constant features set to exactly 0."""
    variance = mean_square - mean.square()
    return torch.where(variance > CONSTANT * mean_square, variance, torch.zeros_like(variance))
