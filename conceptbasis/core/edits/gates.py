"""Gates: what tells requests of one kind from benign ones, and words from where requests end.

A direction that is good to write along is not the best one to read: benign requests differ along
it too. The gate is the direction turned away from what they differ in.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.errors import NumericsError

_LEAST_LEFT = 1e-3
"""Least share of a direction's squared norm that may lie outside the difference of two means."""


@dataclass(frozen=True)
class Gate:
    """A reading wᵀ(h − μ) and a threshold on it.

    Args:
        weights: w, scaled so that benign requests spread along it as they do along the direction.
        mean: μ of benign requests, so their mean reading is 0.
        threshold: The quantile of benign readings.
    """

    weights: Float[Tensor, " d_model"]
    mean: Float[Tensor, " d_model"]
    threshold: float


def fit_gate(
    r: Float[Tensor, " d_model"],
    benign: Float[Tensor, "n d_model"],
    *,
    quantile: float,
    shrinkage: float | None,
) -> Gate:
    """The gate of a direction, from benign activations alone.

    Formula: w ∝ (Σ + λ · mean(diag Σ) · I)⁻¹ r, std(wᵀh) = std(rᵀh); t = quantile of wᵀ(h − μ);
    Σ, μ and std over benign activations.

    Args:
        r: Direction of unit norm.
        benign: Activations of benign requests, at least two.
        quantile: Share of benign activations that lie at or below the threshold, 0 to 1.
        shrinkage: λ; the larger, the nearer the gate is to r; None takes r itself.

    Returns:
        The gate.

    Raises:
        NumericsError: Benign activations do not vary along r, so that no threshold means anything.

    Source: Friedman 1989 (regularised discriminant analysis); the use is ours.
    """
    wide, unit = benign.double(), r.double()
    mean = wide.mean(0)
    spread = float((wide @ unit).std()) if len(wide) > 1 else 0.0
    if not spread > 0:
        raise NumericsError(
            f"{len(wide)} benign activations with a spread of {spread} along a direction",
            expected="at least two that differ along it",
            fix="add benign requests to the shared text",
        )
    weights = unit
    if shrinkage is not None:
        covariance = torch.cov(wide.T, correction=0)
        level = covariance.diagonal().mean()
        ridge = covariance + shrinkage * level * torch.eye(len(unit), dtype=torch.float64)
        weights = torch.linalg.solve(ridge, unit)
    weights = weights * (spread / (wide @ weights).std())
    threshold = float(((wide - mean) @ weights).quantile(quantile))
    return Gate(weights.float(), mean.float(), threshold)


def level_gate(
    r: Float[Tensor, " d_model"],
    first: Float[Tensor, " d_model"],
    second: Float[Tensor, " d_model"],
) -> Float[Tensor, " d_model"]:
    """A gate that reads a direction and gives two means one value.

    Formula: w = (r − ê êᵀr) / (1 − (êᵀr)²), ê the unit difference of the means: wᵀr = 1, wᵀê = 0.

    Args:
        r: Direction of unit norm.
        first: One mean, such as that where requests end.
        second: Another, such as that of all positions.

    Returns:
        w; r itself where the means are equal.

    Raises:
        NumericsError: The means differ along r and nowhere else, so that nothing is left to read.
    """
    unit, apart = r.double(), first.double() - second.double()
    length = apart.norm()
    if not length > 0:
        return r
    e = apart / length
    left = 1 - float(unit @ e) ** 2
    if left < _LEAST_LEFT:
        raise NumericsError(
            f"two means differ along a direction and nowhere else (1 - cos² is {left:.2g})",
            expected="a direction that is not the one between the means",
            fix="set replay.centre to ends or all",
        )
    return ((unit - (unit @ e) * e) / left).float()
