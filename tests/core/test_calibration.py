"""Judging a forecast: ranks, pairs it has not seen, and both errors."""

import random

import pytest
import scipy.stats

from conceptbasis.core.statistics.calibration import forecast_errors, out_of_pair, spearman
from conceptbasis.errors import NumericsError


def test_spearman_is_scipys():
    dice = random.Random(0)
    x = [round(dice.random(), 1) for _ in range(40)]  # with ties
    y = [a + dice.random() for a in x]
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_spearman_of_too_little_is_nothing():
    assert spearman([1.0, 2.0], [1.0, 2.0]) is None
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    with pytest.raises(NumericsError):
        spearman([1.0], [1.0, 2.0])


def runs_of(figure, seed=1, n_pairs=6, n_runs=8):
    """Success of runs of several pairs, with a figure that is made from it."""
    dice = random.Random(seed)
    success = [dice.random() for _ in range(n_pairs * n_runs)]
    pairs = [f"p{i // n_runs}" for i in range(n_pairs * n_runs)]
    return [figure(dice, s, p) for s, p in zip(success, pairs, strict=True)], success, pairs


def test_a_figure_that_tells_success_does_so_on_unseen_pairs():
    assert out_of_pair(*runs_of(lambda dice, s, p: s + 0.05 * dice.random())) > 0.8
    assert out_of_pair(*runs_of(lambda dice, s, p: -s)) > 0.8  # its direction is learnt elsewhere


def test_a_figure_of_chance_or_of_the_pair_alone_does_not():
    chance = [out_of_pair(*runs_of(lambda dice, s, p: dice.random(), seed=k)) for k in range(5)]
    assert sum(chance) / 5 < 0.2
    assert out_of_pair(*runs_of(lambda dice, s, p: float(p[1:]))) < 0.4


def test_two_pairs_are_too_few():
    assert out_of_pair([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"]) is None


def test_errors_are_counted_on_their_own_side():
    found = forecast_errors([True, True, False, False, False], [0.9, 0.1, 0.2, 0.5, 0.8])
    assert (found.false_rejections, found.n_good) == (1, 3)
    assert (found.missed_failures, found.n_bad) == (1, 2)
    with pytest.raises(NumericsError):
        forecast_errors([True], [])
