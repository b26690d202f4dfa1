"""A rebuilt direction turned away from where benign requests differ from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from conceptbasis.core.directions.rebuild import Rebuilt
from conceptbasis.core.statistics.finite import unit_vector
from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class BenignSpread:
    """How benign requests differ from each other: the eigenvalues and vectors of their covariance.

    Args:
        values: Variances along the vectors, relative to their mean.
        vectors: Orthonormal columns.
    """

    values: Float[Tensor, " d_target"]
    vectors: Float[Tensor, "d_target d_target"]

    @classmethod
    def of(cls, ends: Float[Tensor, "n d_target"]) -> BenignSpread:
        """Of the target's residuals where benign requests end.

        Raises:
            NumericsError: They do not differ, or there are fewer than two.
        """
        covariance = torch.cov(ends.to(torch.float64).T, correction=0)
        level = float(covariance.diagonal().mean()) if len(ends) > 1 else 0.0
        if not level > 0:
            raise NumericsError(
                f"{len(ends)} benign requests whose mean variance is {level}",
                expected="two or more that end in residuals of the target that differ",
                fix="add benign requests to the shared text, or set transfer.benign_cosine to 1",
            )
        values, vectors = torch.linalg.eigh(covariance / level)
        return cls(values.clamp(min=0), vectors)


_SHRINKAGE = (1e-6, 1e6)
"""Between no shrinkage and nothing but it, relative to the mean variance."""


def spare_benign(rebuilt: Rebuilt, spread: BenignSpread, *, cosine: float) -> Rebuilt:
    """Turn a direction away from where benign requests differ from each other, up to an angle.

    Formula: direction ∝ (Σ + λ · mean(diag Σ) · I)⁻¹ steering, the regularised discriminant whose
    within-class covariance is that of benign requests, λ the least one that leaves the wanted
    cosine with the steering vector. What benign requests differ in along the direction is what its
    removal costs them; what the direction is turned by is what its removal misses.

    Args:
        rebuilt: The rebuilt direction.
        spread: Of benign requests in the target.
        cosine: The least cosine between the turned direction and the steering vector, above 0;
            1 leaves the direction.

    Returns:
        The turned direction; the steering vector and the features stay.

    Raises:
        NumericsError: The widths differ, or the steering vector is zero.

    Source: Friedman 1989 (regularised discriminant analysis); the use and the choice are ours.
    """
    if cosine >= 1:
        return rebuilt
    if rebuilt.steering.numel() != spread.values.numel():
        raise NumericsError(
            f"a direction of width {rebuilt.steering.numel()} and benign requests of width "
            f"{spread.values.numel()}",
            expected="equal widths",
            fix="use the residuals of the target that the direction belongs to",
        )
    # Of unit length: torch's cosine takes vectors that are very short for shorter than they are.
    along = spread.vectors.T @ unit_vector("steering", rebuilt.steering.to(torch.float64))

    def turned(log_shrinkage: float) -> Float[Tensor, " d_target"]:
        return along / (spread.values + math.exp(log_shrinkage))

    def excess(log_shrinkage: float) -> float:
        return float(torch.cosine_similarity(turned(log_shrinkage), along, dim=0)) - cosine

    low, high = (math.log(shrinkage) for shrinkage in _SHRINKAGE)
    chosen = low if excess(low) >= 0 else float(brentq(excess, low, high))
    unit = unit_vector("spared direction", spread.vectors @ turned(chosen))
    return replace(rebuilt, direction=unit.float())
