"""From null draws to p-values, and from p-values to a list of rejections."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite

# Number of density bins over which the shift null is pooled.
DENSITY_BINS = 10
# Least number of shifts, and share of the latents that must be enough to be found when all match.
LEAST_SHIFTS = 3
FOUND_SHARE = 1 / 8


def least_p(n_shifts: int, n_live: int) -> float:
    """Compute the smallest p that the pooled null can give.

    Formula: 1 / (1 + n_shifts · m), with m = ⌊n_live / 10⌋ the latents of the smallest pool.

    Args:
        n_shifts: Number of shifts.
        n_live: Live donor latents.
    """
    return 1 / (1 + n_shifts * max(1, n_live // DENSITY_BINS))


def least_found(n_shifts: int, n_live: int, *, fdr: float) -> int:
    """Compute how many latents must have a match before Benjamini and Hochberg let any of them in.

    Formula: the least k with p_min ≤ k · fdr / n_live; above n_live, none can ever be found.

    Args:
        n_shifts: Number of shifts.
        n_live: Live donor latents.
        fdr: False discovery rate.
    """
    return max(1, math.ceil(least_p(n_shifts, n_live) * n_live / fdr - 1e-9))


def shifts_needed(n_live: int, *, fdr: float) -> int:
    """Compute the number of shifts at which an eighth of the latents can be found.

    Formula: the least S ≥ 3 with `least_found`(S) ≤ max(1, n_live / 8).

    Args:
        n_live: Live donor latents.
        fdr: False discovery rate.
    """
    enough = max(1.0, FOUND_SHARE * n_live)
    pool = max(1, n_live // DENSITY_BINS)
    return max(LEAST_SHIFTS, math.ceil((n_live / (fdr * enough) - 1) / pool - 1e-9))


def benjamini_hochberg(p: Float[Tensor, " n"], *, q: float) -> Bool[Tensor, " n"]:
    """Mark the hypotheses rejected at false discovery rate q.

    Formula: reject the k smallest p, k the largest with p₍ₖ₎ ≤ k q / n.

    Args:
        p: p-values.
        q: False discovery rate.

    Returns:
        True where the null is rejected.

    Raises:
        NumericsError: A p-value is not finite.

    Source: Benjamini and Hochberg 1995.
    """
    require_finite("p-values", p)
    if p.numel() == 0:
        return torch.zeros(0, dtype=torch.bool)
    ordered = p.to(torch.float64).sort().values
    line = q * torch.arange(1, p.numel() + 1, dtype=torch.float64) / p.numel()
    below = (ordered <= line).nonzero()
    if below.numel() == 0:
        return torch.zeros_like(p, dtype=torch.bool)
    return p.to(torch.float64) <= ordered[below[-1, 0]]


def pooled_p(
    r: Float[Tensor, " n_pairs"],
    donors: Int[Tensor, " n_pairs"],
    null: Float[Tensor, "n_shifts d_donor"],
    density: Float[Tensor, " d_donor"],
    live: Bool[Tensor, " d_donor"],
) -> Float[Tensor, " n_pairs"]:
    """Compute each pair's empirical p against donor features of similar density.

    Formula: p = (1 + #{null ≥ r}) / (1 + #null), over the null of the live donor features in the
    same density decile; density sets how large a chance correlation can be.

    Args:
        r: Correlation of each pair.
        donors: Donor feature of each pair.
        null: Best chance correlation per shift and donor feature.
        density: Share of sites at which each donor feature is active.
        live: Donor features that enter the pools.

    Returns:
        p per pair; 1 for a pair whose donor feature is not live.
    """
    p = torch.ones(r.numel(), dtype=torch.float64)
    order = live.nonzero()[:, 0][density[live].argsort(stable=True)]
    for members in np.array_split(order.numpy(), DENSITY_BINS):
        if len(members) == 0:
            continue
        pool = null[:, torch.from_numpy(members)].flatten().sort().values
        inside = torch.isin(donors, torch.from_numpy(members))
        reached = pool.numel() - torch.searchsorted(pool, r[inside].contiguous())
        p[inside] = (1 + reached).to(torch.float64) / (1 + pool.numel())
    return p
