"""A best partner is told from a worse one, and not from one as good."""

import numpy as np
import pytest
import scipy.sparse
import torch

from conceptbasis.core.features.ambiguity import correlation_gaps, correlations_with_all

N_TEXTS, N_SITES = 60, 900


def planted(seed, noises):
    """A latent and partners of it, each with noise of its own; sites come in texts."""
    generator = torch.Generator().manual_seed(seed)
    texts = torch.arange(N_SITES) % N_TEXTS
    shared = torch.randn(N_TEXTS, generator=generator)[texts]
    x = (shared + torch.randn(N_SITES, generator=generator)).clamp(min=0)
    others = [x + noise * torch.randn(N_SITES, generator=generator) for noise in noises]
    return x, torch.stack(others, 1), texts


def gaps(seed, noises, weights=None):
    x, others, texts = planted(seed, noises)
    return correlation_gaps(
        x,
        others[:, 0],
        others[:, 1:],
        weights=torch.ones(N_SITES) if weights is None else weights,
        clusters=texts,
        generator=torch.Generator().manual_seed(0),
        n_resamples=400,
    )


def test_a_worse_partner_is_told_from_the_best_and_an_equal_one_is_not():
    told = {"equal": 0, "worse": 0}
    for seed in range(40):
        equal, worse = gaps(seed, (0.5, 0.5, 1.0))
        told["equal"] += equal.low > 0
        told["worse"] += worse.low > 0
        assert equal.n == N_TEXTS
    assert told["worse"] == 40
    assert told["equal"] <= 4  # one in forty is expected


def test_the_gap_is_the_difference_of_the_weighted_correlations():
    x, others, _ = planted(1, (0.3, 0.9))
    weights = torch.rand(N_SITES, generator=torch.Generator().manual_seed(2))
    (gap,) = gaps(1, (0.3, 0.9), weights)
    r = [_correlation(x, others[:, i], weights) for i in (0, 1)]
    assert gap.value == pytest.approx(r[0] - r[1], abs=1e-6)
    assert gap.low < gap.value < gap.high
    (plain,) = gaps(1, (0.3, 0.9))
    assert plain.value != pytest.approx(gap.value, abs=1e-4)


def _correlation(x, y, w):
    cov = np.cov(x.numpy(), y.numpy(), aweights=w.numpy())
    return cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])


def test_all_correlations_are_those_of_the_dense_formula_and_zero_for_the_dead():
    x, others, _ = planted(3, (0.2, 0.8, 2.0))
    others = torch.cat([others.clamp(min=0), torch.zeros(N_SITES, 1)], 1)
    weights = torch.rand(N_SITES, generator=torch.Generator().manual_seed(4))
    found = correlations_with_all(x, scipy.sparse.csr_matrix(others.numpy()), weights)
    expected = [_correlation(x, others[:, i], weights) for i in range(3)]
    assert found[:3].tolist() == pytest.approx(expected, abs=1e-5)
    assert float(found[3]) == 0.0


def test_two_texts_say_nothing():
    x, others, _ = planted(5, (0.2, 0.8))
    (gap,) = correlation_gaps(
        x,
        others[:, 0],
        others[:, 1:],
        weights=torch.ones(N_SITES),
        clusters=torch.arange(N_SITES) % 2,
        generator=torch.Generator().manual_seed(0),
    )
    assert (gap.low, gap.high) == (-2.0, 2.0)
