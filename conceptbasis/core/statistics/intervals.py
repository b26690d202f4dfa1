"""Intervals for rates, means and paired differences."""

from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.errors import NumericsError

# Largest number of resampled indices held at once.
CHUNK = 1 << 22


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Compute Wilson's score interval of a rate.

    Formula: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    Args:
        successes: Items that count.
        n: All scored items.
        confidence: Coverage of the interval.

    Returns:
        The rate with its interval, inside [0, 1].

    Raises:
        NumericsError: n is zero, or successes is not between 0 and n.

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise NumericsError(
            f"a rate of {successes} out of {n} is not defined",
            expected="n of at least 1 and successes between 0 and n",
            fix="report the condition as unscored instead of as a rate",
        )
    return Interval(successes / n, *_score_ends(successes / n, n, confidence), n)


def _score_ends(rate: float, n: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    scale = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z * ((rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5) / scale
    # At 0 and n one end is exactly the rate; rounding must not push it past.
    return 0.0 if rate == 0 else centre - half, 1.0 if rate == 1 else centre + half


def rate(verdicts: Sequence[bool | None]) -> Rate:
    """The share of True among scored verdicts; no interval where none is scored."""
    scored = [v for v in verdicts if v is not None]
    interval = wilson(sum(scored), len(scored)) if scored else None
    return Rate(interval, len(verdicts) - len(scored))


def bootstrap_mean(
    values: Float[Tensor, " n"],
    *,
    generator: Generator,
    clusters: Int[Tensor, " n"] | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    shares: bool = False,
) -> Interval:
    """Compute the percentile bootstrap interval of a mean, by items or by whole clusters.

    Formula: quantiles over b of Σ_{c∈b} Σ_{i∈c} v_i / Σ_{c∈b} |c|, with b drawing clusters with
    replacement; without clusters every item is its own. Draws of equal values, or of one cluster,
    have no spread: the ends are then the mean itself, which says that no interval is known. Values
    between 0 and 1 get Wilson's score interval over clusters there, which holds for every
    distribution on that range, since none has more variance than a rate.

    Args:
        values: One value per item.
        generator: The source of randomness.
        clusters: Cluster label of each item (for example its noun), any integers.
        n_resamples: Number of bootstrap draws.
        confidence: Coverage of the interval.
        shares: Whether values lie between 0 and 1.

    Returns:
        The mean with its interval; n counts items, not clusters.

    Raises:
        NumericsError: No values, or a value is not finite.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    require_finite("bootstrap values", values)
    if values.numel() == 0:
        raise NumericsError(
            "a mean of no values is not defined",
            expected="at least one value",
            fix="report the condition as unscored instead of as a mean",
        )
    wide = values.detach().to("cpu", torch.float64)
    sums, counts = cluster_totals(wide, clusters)
    means = _resampled_means(sums, counts, generator, n_resamples)
    low, high, mean = *percentiles(means, confidence), float(wide.mean())
    if shares and low == high:
        low, high = _score_ends(min(1.0, max(0.0, mean)), sums.numel(), confidence)
    return Interval(mean, low, high, values.numel())


def bootstrap_correlation(
    a: Float[Tensor, " n"],
    b: Float[Tensor, " n"],
    *,
    weights: Float[Tensor, " n"],
    clusters: Int[Tensor, " n"],
    generator: Generator,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Compute the percentile bootstrap interval of a weighted correlation, by whole clusters.

    Formula: with S_f = Σ w f over the items drawn, ρ = (S_1 S_ab − S_a S_b) / √((S_1 S_aa − S_a²)
    (S_1 S_bb − S_b²)); sums of clusters are added up, so that a draw costs as much as it has
    clusters. A side that is constant in a draw has ρ = 0. Where a side never varies, or there are
    fewer than three clusters, nothing is known: −1 to 1.

    Args:
        a: One value per item.
        b: Another value of the same items.
        weights: Weight of each item, not negative.
        clusters: Cluster label of each item (for example its text), any integers.
        generator: The source of randomness.
        n_resamples: Number of bootstrap draws.
        confidence: Coverage of the interval.

    Returns:
        The correlation with its interval; n counts clusters.

    Raises:
        NumericsError: No items, or a value is not finite.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    require_finite("values to correlate", torch.stack([a, b, weights]))
    if a.numel() == 0:
        raise NumericsError(
            "a correlation of no items is not defined",
            expected="at least one item",
            fix="give the sites of both sides",
        )
    sums = cluster_moments(a, b, weights, clusters)
    n = len(sums)
    counts = draw_counts(n, n_resamples, generator)
    low, high = percentiles(correlations(counts @ sums), confidence)
    if n < 3 or any(bool((side == side[0]).all()) for side in (a, b)):
        low, high = -1.0, 1.0
    return Interval(float(correlations(sums.sum(0, keepdim=True))), low, high, n)


def cluster_moments(
    a: Float[Tensor, " n"],
    b: Float[Tensor, " n"],
    weights: Float[Tensor, " n"],
    clusters: Int[Tensor, " n"],
) -> Float[Tensor, "n_clusters 6"]:
    """Sums S_1, S_a, S_b, S_aa, S_bb, S_ab of each cluster, of values moved to mean zero."""
    w, x, y = (side.detach().to("cpu", torch.float64) for side in (weights, a, b))
    x, y = x - x.mean(), y - y.mean()
    products = torch.stack([w, w * x, w * y, w * x * x, w * y * y, w * x * y], dim=1)
    index = torch.unique(clusters.cpu(), return_inverse=True)[1]
    n = int(index.max()) + 1
    return torch.zeros(n, 6, dtype=torch.float64).index_add_(0, index, products)


def draw_counts(n: int, n_resamples: int, generator: Generator) -> Float[Tensor, "n_resamples n"]:
    """How often each of n clusters is drawn, in draws of n with replacement."""
    drawn = torch.randint(n, (n_resamples, n), generator=generator)
    counts = torch.zeros(n_resamples, n, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(counts))


def percentiles(draws: Float[Tensor, " n_resamples"], confidence: float) -> tuple[float, float]:
    """Both ends of the middle share of draws."""
    tail = (1 - confidence) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.quantile(draws, ends).tolist()
    return low, high


def correlations(sums: Float[Tensor, "rows 6"]) -> Float[Tensor, " rows"]:
    """Weighted correlations from rows of `cluster_moments`; 0 where a side is constant."""
    w, x, y, xx, yy, xy = sums.unbind(1)
    spread = ((w * xx - x * x).clamp(min=0) * (w * yy - y * y).clamp(min=0)).sqrt()
    floor = 1e-12 * w * (xx * yy).sqrt()
    return torch.where(spread > floor, (w * xy - x * y) / spread, torch.zeros_like(spread))


def paired_bootstrap(
    before: Float[Tensor, " n"],
    after: Float[Tensor, " n"],
    *,
    generator: Generator,
    clusters: Int[Tensor, " n"] | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Compute the bootstrap interval of the mean change over the same items.

    Formula: mean_i(after_i − before_i), resampled as in `bootstrap_mean`.

    Args:
        before: Value of each item without the intervention.
        after: Value of the same item with it.
        generator: The source of randomness.
        clusters: Cluster label of each item.
        n_resamples: Number of bootstrap draws.
        confidence: Coverage of the interval.

    Returns:
        The mean change with its interval.

    Raises:
        NumericsError: No items, or a value is not finite.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    return bootstrap_mean(
        after.to(torch.float64) - before.to(torch.float64),
        generator=generator,
        clusters=clusters,
        n_resamples=n_resamples,
        confidence=confidence,
    )


def non_inferior(difference: Interval, *, margin: float) -> bool:
    """Tell whether a change is surely not worse than the margin.

    Formula: low(after − before) > −margin.

    Args:
        difference: Interval of the change, positive when things got better.
        margin: Largest loss that is still acceptable, positive.

    Returns:
        True when the whole interval lies above −margin.
    """
    return difference.low > -margin


def cluster_totals(
    values: Float[Tensor, " n"], clusters: Int[Tensor, " n"] | None
) -> tuple[Float[Tensor, " n_clusters"], Float[Tensor, " n_clusters"]]:
    """Sum values and count items per cluster."""
    if clusters is None:
        return values, torch.ones_like(values)
    labels, index = torch.unique(clusters.cpu(), return_inverse=True)
    sums = torch.zeros(labels.numel(), dtype=torch.float64).index_add_(0, index, values)
    counts = torch.bincount(index, minlength=labels.numel()).to(torch.float64)
    return sums, counts


def _resampled_means(
    sums: Float[Tensor, " n_clusters"],
    counts: Float[Tensor, " n_clusters"],
    generator: Generator,
    n_resamples: int,
) -> Float[Tensor, " n_resamples"]:
    """Draw clusters with replacement, in chunks of bounded memory."""
    n = sums.numel()
    step = max(1, CHUNK // n)
    means = []
    for start in range(0, n_resamples, step):
        rows = min(step, n_resamples - start)
        drawn = torch.randint(n, (rows, n), generator=generator)
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    return torch.cat(means)
