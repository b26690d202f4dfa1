"""Kappa against scikit-learn, its interval against simulated judges, and its edges."""

import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from conceptbasis.core.statistics.agreement import cohens_kappa
from conceptbasis.errors import NumericsError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def judges(n, flips, seed):
    """A judge that refuses a third, and one that turns a share of its verdicts around."""
    draws = torch.rand(2, n, generator=generator(seed))
    first = draws[0] < 1 / 3
    second = first ^ (draws[1] < flips)
    return first.tolist(), second.tolist()


@pytest.mark.parametrize("flips", [0.05, 0.3, 0.5])
def test_equals_scikit_learn(flips):
    first, second = judges(200, flips, 1)
    found = cohens_kappa(first, second, generator=generator())
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))
    assert found.low < found.kappa < found.high
    assert found.n == 200


def test_the_interval_covers_the_true_value_about_as_often_as_it_says():
    truth = cohens_kappa(*judges(200_000, 0.2, 2), generator=generator(), n_resamples=2).kappa
    found = [
        cohens_kappa(*judges(120, 0.2, seed), generator=generator(seed), n_resamples=400)
        for seed in range(3, 103)
    ]
    assert 0.88 <= sum(f.low <= truth <= f.high for f in found) / len(found) <= 1


def test_judges_that_agree_by_chance_have_no_kappa():
    """The negative control: independent verdicts."""
    draws = torch.rand(2, 400, generator=generator(5)) < 0.5
    found = cohens_kappa(draws[0].tolist(), draws[1].tolist(), generator=generator())
    assert found.low < 0 < found.high


def test_unscored_items_are_left_out_of_both():
    found = cohens_kappa(
        [True, None, False, True], [True, True, False, None], generator=generator()
    )
    assert (found.n, found.unscored, found.same, found.kappa) == (2, 2, 1.0, 1.0)


def test_a_constant_judge_has_no_kappa():
    found = cohens_kappa([True] * 5, [True] * 4 + [False], generator=generator())
    assert (found.kappa, found.low, found.same, found.n) == (None, None, 0.8, 5)
    assert cohens_kappa([None], [True], generator=generator()).same is None


def test_judges_of_different_items_are_refused():
    with pytest.raises(NumericsError, match="3 and 2 verdicts"):
        cohens_kappa([True] * 3, [True] * 2, generator=generator())


@pytest.mark.parametrize(("n", "low"), [(2, -0.32), (4, 0.02), (100, 0.92)])
def test_judges_that_never_differ_have_an_interval_all_the_same(n, low):
    verdicts = [True, False] * (n // 2)
    found = cohens_kappa(verdicts, verdicts, generator=generator())
    assert (found.kappa, found.high) == (1, 1)
    assert found.low == pytest.approx(low, abs=0.01)
