"""Whether the best partner of a latent can be told from the next best."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import (
    cluster_moments,
    correlations,
    draw_counts,
    percentiles,
)


def correlations_with_all(
    x: Float[Tensor, " n"], others: scipy.sparse.csr_matrix, weights: Float[Tensor, " n"]
) -> Float[Tensor, " d"]:
    """Weighted correlation of one latent with every latent of the other side.

    Formula: cov_w(x, y_j) / √(var_w(x) var_w(y_j)); 0 where a side is constant.

    Args:
        x: Its codes.
        others: Codes of the other side at the same sites, (n, d).
        weights: Weight of each site, not negative.
    """
    w = (weights / weights.sum()).to(torch.float64).numpy()
    a = x.to(torch.float64).numpy()
    a = a - w @ a
    mean = others.T @ w
    spread = np.sqrt((w @ (a * a)) * np.maximum(others.multiply(others).T @ w - mean**2, 0))
    both = others.T @ (w * a)
    found = np.divide(both, spread, out=np.zeros_like(both), where=spread > 1e-12)
    return torch.from_numpy(found)


def correlation_gaps(
    x: Float[Tensor, " n"],
    best: Float[Tensor, " n"],
    others: Float[Tensor, "n n_others"],
    *,
    weights: Float[Tensor, " n"],
    clusters: Int[Tensor, " n"],
    generator: Generator,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> list[Interval]:
    """By how much a latent correlates more with its best partner than with others.

    Formula: ρ(x, best) − ρ(x, other_j), both on the same draws of whole clusters, so that what
    both share (the sites, x itself) does not widen the interval.

    Args:
        x: Codes of the latent.
        best: Codes of its best partner.
        others: Codes of other partners.
        weights: Weight of each site.
        clusters: Cluster of each site, as its text.
        generator: The source of randomness.
        n_resamples: Number of bootstrap draws.
        confidence: Coverage of each interval; they are not corrected for their number.

    Returns:
        One interval for each other; n counts clusters. With fewer than three clusters nothing is
        known: −2 to 2.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    sums = [cluster_moments(x, y, weights, clusters) for y in (best, *others.unbind(1))]
    n = len(sums[0])
    counts = draw_counts(n, n_resamples, generator)
    whole = [float(correlations(each.sum(0, keepdim=True))) for each in sums]
    drawn = [correlations(counts @ each) for each in sums]
    found = []
    for r, draws in zip(whole[1:], drawn[1:], strict=True):
        low, high = percentiles(drawn[0] - draws, confidence) if n >= 3 else (-2.0, 2.0)
        found.append(Interval(whole[0] - r, low, high, n))
    return found
