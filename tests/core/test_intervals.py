import numpy as np
import pytest
import torch
from scipy.stats import binomtest, bootstrap

from conceptbasis.core.statistics.intervals import (
    Interval,
    bootstrap_correlation,
    bootstrap_mean,
    non_inferior,
    paired_bootstrap,
    wilson,
)
from conceptbasis.errors import NumericsError


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 300), (7, 300), (299, 300), (300, 300)])
def test_wilson_equals_scipy(successes, n):
    oracle = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    ours = wilson(successes, n)
    assert (ours.low, ours.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
    assert ours.low <= ours.value <= ours.high


def test_wilson_narrows_with_confidence():
    assert wilson(5, 10, confidence=0.5).low > wilson(5, 10).low


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_rates_that_are_not(successes, n):
    with pytest.raises(NumericsError):
        wilson(successes, n)


def test_bootstrap_equals_scipy(generator):
    values = torch.randn(80, generator=generator, dtype=torch.float64)
    ours = bootstrap_mean(values, generator=generator, n_resamples=20000)
    oracle = bootstrap(
        (values.numpy(),), lambda v, axis: v.mean(axis), method="percentile", n_resamples=20000,
        rng=0,
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((oracle.low, oracle.high), abs=0.01)
    assert ours.value == pytest.approx(float(values.mean()))


def test_bootstrap_covers_the_truth(generator):
    hits = 0
    for _ in range(200):
        values = torch.randn(60, generator=generator)
        interval = bootstrap_mean(values, generator=generator, n_resamples=300)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_of_a_correlation_equals_numpy_on_every_draw(generator):
    a, noise = torch.randn(2, 60, generator=generator, dtype=torch.float64)
    b, weights = a + noise, torch.rand(60, generator=generator, dtype=torch.float64)
    clusters = torch.arange(60) // 3
    ours = bootstrap_correlation(
        a, b, weights=weights, clusters=clusters, generator=torch.Generator().manual_seed(5)
    )
    draws = torch.randint(20, (1000, 20), generator=torch.Generator().manual_seed(5))
    found = []
    for drawn in draws:
        items = torch.cat([(clusters == c).nonzero()[:, 0] for c in drawn])
        table = np.cov(a[items], b[items], aweights=weights[items])
        found.append(table[0, 1] / np.sqrt(table[0, 0] * table[1, 1]))
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])))
    whole = np.cov(a, b, aweights=weights)
    assert ours.value == pytest.approx(whole[0, 1] / np.sqrt(whole[0, 0] * whole[1, 1]))
    assert ours.n == 20


def test_a_correlation_covers_the_truth_and_knows_a_constant(generator):
    def interval(a, b):
        return bootstrap_correlation(
            a,
            b,
            weights=torch.ones(len(a)),
            clusters=torch.arange(len(a)),
            generator=generator,
            n_resamples=300,
        )

    hits = 0
    for _ in range(100):
        a, b = torch.randn(2, 100, generator=generator)
        found = interval(a, b)
        hits += found.low <= 0 <= found.high
    assert 0.86 <= hits / 100 <= 0.99
    flat = interval(torch.ones(50), torch.randn(50, generator=generator))
    assert (flat.low, flat.value, flat.high) == (-1, 0, 1)
    two = interval(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0]))
    assert (two.low, two.high) == (-1, 1)
    assert two.value == pytest.approx(1)
    with pytest.raises(NumericsError, match="no items"):
        interval(torch.ones(0), torch.ones(0))


def test_clusters_widen_the_interval_when_items_repeat(generator):
    base = torch.randn(20, generator=generator)
    values, clusters = base.repeat_interleave(10), torch.arange(20).repeat_interleave(10)
    by_item = bootstrap_mean(values, generator=generator)
    by_cluster = bootstrap_mean(values, generator=generator, clusters=clusters)
    of_base = bootstrap_mean(base, generator=generator)
    width = by_cluster.high - by_cluster.low
    assert width > 2 * (by_item.high - by_item.low)
    assert width == pytest.approx(of_base.high - of_base.low, rel=0.1)


def test_clusters_of_one_are_items():
    values = torch.randn(30, generator=torch.Generator().manual_seed(1))
    alone = bootstrap_mean(values, generator=torch.Generator().manual_seed(2))
    labelled = bootstrap_mean(
        values, generator=torch.Generator().manual_seed(2), clusters=torch.arange(30) * 7
    )
    assert alone == labelled


def test_chunks_do_not_change_the_draws(monkeypatch):
    values = torch.randn(30, generator=torch.Generator().manual_seed(1))
    whole = bootstrap_mean(values, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr("conceptbasis.core.statistics.intervals.CHUNK", 100)
    assert bootstrap_mean(values, generator=torch.Generator().manual_seed(2)) == whole


def test_pairing_removes_shared_spread(generator):
    before = 10 * torch.randn(100, generator=generator)
    after = before - 0.5 + 0.1 * torch.randn(100, generator=generator)
    paired = paired_bootstrap(before, after, generator=generator)
    assert paired.low > -0.6
    assert paired.high < -0.4
    shuffled = after[torch.randperm(100, generator=generator)]
    unpaired = paired_bootstrap(before, shuffled, generator=generator)
    assert unpaired.low < -1


def test_bootstrap_refuses_nothing_and_nan(generator):
    for values in (torch.zeros(0), torch.tensor([0.0, float("nan")])):
        with pytest.raises(NumericsError):
            bootstrap_mean(values, generator=generator)


def test_shares_without_spread_get_the_exact_score_interval(generator):
    """All 0, all 1 and one item, against scipy; a mean of other values has no interval there."""
    for value, n in ((0.0, 3), (1.0, 3), (0.0, 1), (1.0, 40)):
        oracle = binomtest(int(value * n), n).proportion_ci(0.95, method="wilson")
        found = bootstrap_mean(torch.full((n,), value), generator=generator, shares=True)
        assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
    one_cluster = bootstrap_mean(
        torch.tensor([0.0, 1.0]),
        generator=generator,
        clusters=torch.zeros(2, dtype=torch.long),
        shares=True,
    )
    assert one_cluster.high - one_cluster.low > 0.8
    unbounded = bootstrap_mean(torch.full((3,), 7.0), generator=generator)
    assert (unbounded.low, unbounded.value, unbounded.high) == (7, 7, 7)


def test_non_inferiority_needs_the_whole_interval():
    assert non_inferior(Interval(0.0, -0.019, 0.01, 9), margin=0.02)
    assert not non_inferior(Interval(0.0, -0.021, 0.01, 9), margin=0.02)
    assert not non_inferior(Interval(0.0, -0.02, 0.01, 9), margin=0.02)
