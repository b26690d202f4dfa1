"""Intervals of the change of a yes-or-no outcome over the same items; never without a width."""

import math
from statistics import NormalDist

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import cluster_totals, paired_bootstrap
from conceptbasis.errors import NumericsError


def tango(
    gained: int | float,
    lost: int | float,
    n: int | float,
    *,
    confidence: float = 0.95,
    z: float | None = None,
) -> tuple[float, float]:
    """Compute Tango's score interval of a difference of paired proportions.

    Formula: all Δ with |g − l − nΔ| / √(n (2q + Δ(1 − Δ))) ≤ z, where q is the likeliest share of
    lost items at Δ: q = (√(B² − 4AC) − B) / 2A, A = 2n, B = −g − l + (2n − g + l)Δ,
    C = −lΔ(1 − Δ). Without a differing item it is ±z² / (n + z²), Wilson's end at 0 of n.

    Args:
        gained: Items that are true after and were not before; need not be whole.
        lost: Items that were true before and are not after.
        n: All items.
        confidence: Coverage of the interval.
        z: The quantile itself, in place of that of a normal distribution.

    Returns:
        Lower and upper end, inside [−1, 1].

    Raises:
        NumericsError: n is not positive, or more items differ than there are.

    Source: Tango 1998, Statistics in Medicine 17.
    """
    if n <= 0 or min(gained, lost) < 0 or gained + lost > n * (1 + 1e-9):
        raise NumericsError(
            f"a change with {gained:g} items gained and {lost:g} lost out of {n:g} is not defined",
            expected="at least one item, and no more that differ than there are",
            fix="give the items that were scored both before and after",
        )
    from scipy.optimize import brentq  # slow to import, and needed here only

    bound = NormalDist().inv_cdf(0.5 + confidence / 2) if z is None else z
    change = max(-1.0, min(1.0, (gained - lost) / n))

    def excess(delta: float, sign: int) -> float:
        """How far the score of Δ is inside the bound, times its standard deviation."""
        a, b = 2 * n, -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        spread = math.sqrt(max(0.0, n * (2 * q + delta * (1 - delta))))
        return bound * spread - sign * (gained - lost - n * delta)

    def end(limit: float, sign: int) -> float:
        if excess(limit, sign) >= 0 or change == limit:
            return limit
        # At the change itself the score is 0; where that is no root, the bound is further out.
        start = change - sign * 1e-12
        return (
            float(brentq(excess, limit, start, args=(sign,))) if excess(start, sign) > 0 else start
        )

    return end(-1.0, 1), end(1.0, -1)


def paired_binary(
    before: Float[Tensor, " n"],
    after: Float[Tensor, " n"],
    *,
    generator: Generator,
    clusters: Int[Tensor, " n"] | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Compute the interval of the mean change of a yes-or-no outcome over the same items.

    Formula: Tango's score interval. Where items share clusters, n and the counts are divided by the
    design effect C/(C − 1) Σ_c (Σ_{i∈c} (d_i − d̄))² / Σ_i (d_i − d̄)², at least 1, the quantile is
    that of t with C − 1 degrees of freedom, and the result is widened to hold the bootstrap by
    clusters. Where no item differs, nothing shows that items of a cluster go together, and they
    count as independent. One cluster tells nothing: −1 to 1.

    Args:
        before: 0 or 1 of each item without the intervention.
        after: 0 or 1 of the same item with it.
        generator: The source of randomness.
        clusters: Cluster label of each item (for example its noun), any integers.
        n_resamples: Number of bootstrap draws.
        confidence: Coverage of the interval.

    Returns:
        The mean change with its interval, which has a width for every n.

    Raises:
        NumericsError: No items, or a value is neither 0 nor 1.

    Source: Tango 1998; Kish 1965, section 8.2, for the design effect.
    """
    d = after.detach().to("cpu", torch.float64) - before.detach().to("cpu", torch.float64)
    for side in (before, after):
        if side.numel() == 0 or not bool(((side == 0) | (side == 1)).all()):
            raise NumericsError(
                "a paired change of outcomes that are not 0 or 1",
                expected="at least one item, each 0 or 1 on both sides",
                fix="leave out items without a verdict; use paired_bootstrap for other values",
            )
    n, gained, lost = d.numel(), float((d > 0).sum()), float((d < 0).sum())
    value = (gained - lost) / n
    n_clusters = n if clusters is None else int(torch.unique(clusters).numel())
    if clusters is None or n_clusters == n:
        return Interval(value, *tango(gained, lost, n, confidence=confidence), n)
    if n_clusters == 1:
        return Interval(value, -1.0, 1.0, n)
    effect = design_effect(d, clusters)
    from scipy.stats import t  # slow to import, and needed here only

    quantile = float(t.ppf(0.5 + confidence / 2, n_clusters - 1))
    low, high = tango(gained / effect, lost / effect, n / effect, z=quantile)
    drawn = paired_bootstrap(
        before,
        after,
        generator=generator,
        clusters=clusters,
        n_resamples=n_resamples,
        confidence=confidence,
    )
    return Interval(value, min(low, drawn.low), max(high, drawn.high), n)


def paired_shares(
    before: Float[Tensor, " n"], after: Float[Tensor, " n"], *, generator: Generator
) -> Interval:
    """Compute the interval of the mean change of values between 0 and 1 over the same items.

    Formula: `paired_bootstrap`; where every item changes by the same, which leaves nothing to
    resample, Tango's score interval with Σ max(d, 0) items gained and Σ max(−d, 0) lost. It holds
    there too, since no change between −1 and 1 has more variance than one of whole items.

    Args:
        before: Value of each item without the intervention, between 0 and 1.
        after: Value of the same item with it.
        generator: The source of randomness.

    Returns:
        The mean change with its interval, which has a width for every n.

    Raises:
        NumericsError: No items, or a value is not finite.
    """
    found = paired_bootstrap(before, after, generator=generator)
    if found.low < found.high:
        return found
    d = after.to(torch.float64) - before.to(torch.float64)
    gained, lost = float(d.clamp(min=0).sum()), float((-d).clamp(min=0).sum())
    return Interval(found.value, *tango(gained, lost, d.numel()), d.numel())


def design_effect(values: Float[Tensor, " n"], clusters: Int[Tensor, " n"]) -> float:
    """Compute how much the variance of a mean grows because items of a cluster go together.

    Formula: C/(C − 1) Σ_c (Σ_{i∈c} (v_i − v̄))² / Σ_i (v_i − v̄)², at least 1.

    Args:
        values: One value per item.
        clusters: Cluster label of each item; at least two clusters.

    Returns:
        1 for independent items, and where no value differs from the others.

    Source: Kish 1965, Survey Sampling, section 8.2.
    """
    centred = values.to(torch.float64) - values.to(torch.float64).mean()
    spread = float(centred.square().sum())
    if spread == 0:
        return 1.0
    sums, _ = cluster_totals(centred, clusters)
    return max(1.0, sums.numel() / (sums.numel() - 1) * float(sums.square().sum()) / spread)
