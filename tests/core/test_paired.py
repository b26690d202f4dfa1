"""Intervals of paired yes-or-no outcomes: published examples, brute force, edges and clusters."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, multinomial, norm

from conceptbasis.core.statistics.intervals import non_inferior, wilson
from conceptbasis.core.statistics.paired import (
    design_effect,
    paired_binary,
    paired_shares,
    tango,
)
from conceptbasis.errors import NumericsError


@pytest.mark.parametrize(
    ("gained", "lost", "n", "confidence", "published", "digits"),
    [
        # Tango 1998, Statistics in Medicine 17: soft contact lenses, and its second example.
        (0, 1, 44, 0.90, (-0.096, 0.037), 3),
        (9, 3, 32, 0.95, (-0.027, 0.390), 3),
        # Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33: airway reactivity.
        (1, 7, 21, 0.95, (-0.517, -0.026), 3),
        # PropCIs::scoreci.mp(25, 28, 618) of R.
        (28, 25, 618, 0.90, (-0.0148, 0.0247), 4),
    ],
)
def test_tango_equals_published_examples(gained, lost, n, confidence, published, digits):
    ends = tango(gained, lost, n, confidence=confidence)
    assert tuple(round(end, digits) for end in ends) == published


@pytest.mark.parametrize(("gained", "lost", "n"), [(2, 5, 20), (0, 4, 12), (3, 3, 9), (0, 0, 15)])
def test_tango_equals_a_score_test_with_the_likelihood_searched_by_hand(gained, lost, n):
    def score(delta):
        def loss(q):
            shares = (q + delta, q, 1 - 2 * q - delta)
            counts = (gained, lost, n - gained - lost)
            return -sum(c * np.log(max(p, 1e-300)) for c, p in zip(counts, shares, strict=True))

        limits = (max(0.0, -delta), (1 - delta) / 2)
        q = minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-12}).x
        return (gained - lost - n * delta) / np.sqrt(n * (2 * q + delta - delta**2))

    low, high = tango(gained, lost, n)
    assert score(low) == pytest.approx(norm.ppf(0.975), abs=1e-3)
    assert score(high) == pytest.approx(norm.ppf(0.025), abs=1e-3)


@pytest.mark.parametrize("n", [3, 10, 25])
def test_tango_covers_the_truth_by_enumeration_of_every_table(n):
    """Exact coverage over a grid of truths: every table of counts with its probability."""
    tables = [(g, k) for g in range(n + 1) for k in range(n + 1 - g)]
    ends = np.array([tango(g, k, n) for g, k in tables])
    found = []
    for p, q in itertools.product((0.01, 0.05, 0.1, 0.2, 0.4), repeat=2):
        share = [p, q, 1 - p - q]
        inside = (ends[:, 0] <= p - q + 1e-9) & (ends[:, 1] >= p - q - 1e-9)
        found.append(
            sum(
                multinomial.pmf([g, k, n - g - k], n, share)
                for (g, k), ok in zip(tables, inside, strict=True)
                if ok
            )
        )
    assert np.mean(found) > 0.945
    assert min(found) > 0.90


@pytest.mark.parametrize("n", [1, 3, 40, 300])
def test_no_differing_pair_has_the_width_of_wilson_at_zero(n):
    low, high = tango(0, 0, n)
    oracle = binomtest(0, n).proportion_ci(0.95, method="wilson")
    assert (-low, high) == pytest.approx((oracle.high, oracle.high))
    assert high == pytest.approx(wilson(0, n).high)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_all_lost_and_all_gained_are_mirror_images_with_a_width(n):
    lost, gained = tango(0, n, n), tango(n, 0, n)
    assert lost[0] == -1
    assert gained[1] == 1
    assert lost[1] == pytest.approx(-gained[0])
    assert lost[1] > -1


def test_every_small_table_holds_its_value_and_has_a_width():
    for n in (1, 2, 5, 8):
        for g, k in itertools.product(range(n + 1), repeat=2):
            if g + k > n:
                continue
            low, high = tango(g, k, n)
            assert -1 <= low <= (g - k) / n <= high <= 1
            assert high - low > 0.1


def test_three_prompts_show_nothing_and_enough_prompts_do(generator):
    """The run that was called not inferior on three prompts."""
    same = torch.ones(3)
    few = paired_binary(same, same, generator=generator)
    assert (few.value, few.n) == (0, 3)
    assert not non_inferior(few, margin=0.02)
    assert few.high == pytest.approx(0.561, abs=1e-3)
    least = next(n for n in range(3, 400) if non_inferior(_unchanged(n, generator), margin=0.02))
    assert least == 189


def _unchanged(n, generator):
    return paired_binary(torch.ones(n), torch.ones(n), generator=generator)


def test_clusters_widen_and_one_cluster_tells_nothing(generator):
    before, clusters = torch.ones(60), torch.arange(60) // 6
    after = before.clone()
    after[:12] = 0  # two whole clusters
    alone = paired_binary(before, after, generator=generator)
    grouped = paired_binary(before, after, generator=generator, clusters=clusters)
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)
    single = paired_binary(
        before, after, generator=generator, clusters=torch.zeros(60, dtype=torch.long)
    )
    assert (single.low, single.high) == (-1, 1)
    own = paired_binary(before, after, generator=generator, clusters=torch.arange(60))
    assert own == alone


def test_clustered_intervals_cover_the_truth_where_items_do_not():
    """Losses that come in whole nouns: 20 nouns of five prompts, as brute force."""
    generator = torch.Generator().manual_seed(3)
    clusters, hits, naive = torch.arange(100) // 5, 0, 0
    before = torch.ones(100)
    for _ in range(400):
        lost = torch.rand(20, generator=generator) < 0.3
        after = 1 - lost[clusters].float()
        span = paired_binary(before, after, generator=generator, clusters=clusters, n_resamples=200)
        hits += span.low <= -0.3 <= span.high
        by_item = paired_binary(before, after, generator=generator)
        naive += by_item.low <= -0.3 <= by_item.high
    assert hits / 400 > 0.93
    assert naive / 400 < 0.75


def test_design_effect_of_copies_is_their_number(generator):
    values = torch.randn(400, generator=generator)
    clusters = torch.arange(400).repeat_interleave(5)
    assert design_effect(values.repeat_interleave(5), clusters) == pytest.approx(5, rel=0.01)
    assert design_effect(values, torch.arange(400) // 4) < 1.4
    assert design_effect(torch.zeros(10), torch.arange(10) // 2) == 1


def test_changes_of_shares_never_lose_their_width(generator):
    same = paired_shares(torch.zeros(7), torch.zeros(7), generator=generator)
    assert (same.low, same.high) == pytest.approx(tango(0, 0, 7))
    shifted = paired_shares(torch.zeros(7), torch.full((7,), 0.5), generator=generator)
    assert shifted.low < 0.5 < shifted.high
    spread = torch.rand(50, generator=generator)
    usual = paired_shares(torch.zeros(50), spread, generator=torch.Generator().manual_seed(1))
    assert usual.low < float(spread.mean()) < usual.high


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 0, 0), (2, 2, 3), (-1, 0, 3)])
def test_changes_that_are_not_are_refused(gained, lost, n):
    with pytest.raises(NumericsError):
        tango(gained, lost, n)


def test_values_other_than_yes_and_no_are_refused(generator):
    for values in (torch.zeros(0), torch.tensor([0.5])):
        with pytest.raises(NumericsError):
            paired_binary(values, values, generator=generator)
