"""A rate corrected for the judge's error covers the truth where the raw one does not."""

import numpy as np
import pytest

from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.core.statistics.prevalence import corrected_rate
from conceptbasis.errors import NumericsError

GOOD = {"sensitivity": (301, 307), "specificity": (211, 214)}


def coverage(truth, *, n, error, n_known, n_draws=600):
    """Share of draws in which the corrected and the raw interval hold the truth."""
    rng = np.random.default_rng(0)
    corrected = raw = 0
    for _ in range(n_draws):
        shown = int(rng.binomial(n, truth * (1 - error) + (1 - truth) * error))
        right = [(int(rng.binomial(n_known, 1 - error)), n_known) for _ in range(2)]
        found = corrected_rate(shown, n, sensitivity=right[0], specificity=right[1])
        plain = wilson(shown, n)
        corrected += found.low - 1e-12 <= truth <= found.high + 1e-12
        raw += plain.low <= truth <= plain.high
    return corrected / n_draws, raw / n_draws


@pytest.mark.parametrize("truth", [0.0, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize(
    ("n", "error", "n_known"), [(40, 0.1, 50), (300, 0.1, 50), (300, 0.02, 200)]
)
def test_the_interval_covers_the_truth(truth, n, error, n_known):
    corrected, raw = coverage(truth, n=n, error=error, n_known=n_known)
    assert corrected >= 0.925  # 0.95 less three standard errors
    if truth in (0.0, 1.0):
        assert raw < corrected - 0.1  # the control: without a correction it misses


def test_the_value_is_the_textbook_one_and_a_perfect_judge_changes_little():
    found = corrected_rate(60, 100, sensitivity=(90, 100), specificity=(80, 100))
    assert found.value == pytest.approx((0.6 + 0.8 - 1) / (0.9 + 0.8 - 1))
    perfect = {"sensitivity": (10**6, 10**6), "specificity": (10**6, 10**6)}
    same, plain = corrected_rate(30, 100, **perfect), wilson(30, 100)
    assert same.value == pytest.approx(plain.value)
    assert (same.low, same.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_doubt_about_the_judge_widens_the_interval():
    few = {"sensitivity": (30, 31), "specificity": (21, 21)}
    wide, narrow = corrected_rate(50, 100, **few), corrected_rate(50, 100, **GOOD)
    assert wide.high - wide.low > narrow.high - narrow.low
    plain = wilson(50, 100)
    assert narrow.high - narrow.low > plain.high - plain.low


def test_ends_stay_within_the_range_and_hold_the_value():
    for shown in (0, 1, 99, 100):
        found = corrected_rate(shown, 100, **GOOD)
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert corrected_rate(0, 100, **GOOD).value == 0
    assert corrected_rate(100, 100, **GOOD).value == 1


def test_a_judge_no_better_than_chance_corrects_nothing():
    assert corrected_rate(50, 100, sensitivity=(11, 20), specificity=(10, 20)) is None
    assert corrected_rate(50, 100, sensitivity=(1, 20), specificity=(1, 20)) is None


@pytest.mark.parametrize("wrong", [(-1, 3), (4, 3), (0, 0)])
def test_counts_that_are_no_shares_are_refused(wrong):
    with pytest.raises(NumericsError):
        corrected_rate(*wrong, **GOOD)
    with pytest.raises(NumericsError):
        corrected_rate(1, 2, **{**GOOD, "specificity": wrong})
