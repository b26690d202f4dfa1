"""Shares of an effect: ratios of two means over the same items, with intervals."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.errors import NumericsError


def bootstrap_shares(
    part: Float[Tensor, "n_figures n"],
    whole: Float[Tensor, " n"],
    *,
    generator: Generator,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> list[Interval]:
    """Compute percentile bootstrap intervals of ratios of means; items are drawn for both at once.

    Formula: Σ_{i∈b} part_ki / Σ_{i∈b} whole_i, with b drawing items with replacement, the same
    draws for all figures.

    Args:
        part: One row a figure, one value an item.
        whole: What the parts are shares of, item by item.
        generator: The source of randomness.
        n_resamples: Number of bootstrap draws.
        confidence: Coverage of the intervals.

    Returns:
        One share a row.

    Raises:
        NumericsError: No items, a value that is not finite, or a whole that is not surely positive:
            2.5 % of the draws of its sum are at or below 0.

    Source: Efron and Tibshirani 1993, section 25.5.
    """
    require_finite("parts", part)
    require_finite("wholes", whole)
    n = whole.numel()
    wide = part.detach().to("cpu", torch.float64)
    total = whole.detach().to("cpu", torch.float64)
    if n == 0 or float(total.sum()) <= 0:
        raise _no_whole(n)
    drawn = torch.randint(n, (n_resamples, n), generator=generator)
    counts = torch.zeros(n_resamples, n, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(counts))
    wholes = counts @ total
    tail = (1 - confidence) / 2
    if float(wholes.quantile(tail)) <= 0:
        raise _no_whole(n)
    kept = wholes > 0
    shares = (wide @ counts[kept].T) / wholes[kept]
    ends = torch.quantile(shares, torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=1)
    values = wide.sum(1) / total.sum()
    rows = zip(values.tolist(), *ends.tolist(), strict=True)
    return [Interval(value, low, high, n) for value, low, high in rows]


def _no_whole(n: int) -> NumericsError:
    return NumericsError(
        f"shares of an effect that {n} items do not show to be above 0",
        expected="an effect that is positive in at least 97.5 % of resamples",
        fix="use more items, or a task that the model does",
    )
