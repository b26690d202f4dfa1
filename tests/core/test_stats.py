import numpy as np
import pytest
import scipy.sparse
import torch

from conceptbasis.core.statistics.moments import StreamingMoments, explained_variance
from conceptbasis.errors import NumericsError


def codes(rng, n, d, density=0.2):
    matrix = scipy.sparse.random(n, d, density, format="csr", dtype=np.float32, random_state=rng)
    return scipy.sparse.csr_matrix(matrix)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("sparse_x", [True, False])
@pytest.mark.parametrize("sparse_y", [True, False])
def test_moments_equal_numpy_in_any_batching(rng, sparse_x, sparse_y):
    x, y = codes(rng, 500, 7), codes(rng, 500, 5)
    moments = StreamingMoments(7, 5)
    for rows in np.array_split(np.arange(500), [3, 90, 91, 300]):
        parts = [
            side[rows] if sparse else torch.from_numpy(side[rows].toarray())
            for side, sparse in ((x, sparse_x), (y, sparse_y))
        ]
        moments.update(*parts)
    joint = np.cov(x.toarray().T.astype(float), y.toarray().T.astype(float), bias=True)
    assert moments.n == 500
    np.testing.assert_allclose(moments.cov_xx, joint[:7, :7], atol=1e-12)
    np.testing.assert_allclose(moments.cov_xy, joint[:7, 7:], atol=1e-12)
    np.testing.assert_allclose(moments.var_y, np.diag(joint)[7:], atol=1e-12)
    np.testing.assert_allclose(moments.mean_x, x.toarray().mean(0), atol=1e-7)
    np.testing.assert_allclose(moments.mean_y, y.toarray().mean(0), atol=1e-7)


def test_merged_moments_are_those_of_all_sites(rng):
    x, y = codes(rng, 100, 4), codes(rng, 100, 3)
    first, second, whole = (StreamingMoments(4, 3) for _ in range(3))
    first.update(x[:30], y[:30])
    second.update(x[30:], y[30:])
    whole.update(x, y)
    merged = first.merge(second)
    assert torch.allclose(merged.cov_xy, whole.cov_xy, atol=1e-14)
    assert torch.allclose(merged.cov_xx, whole.cov_xx, atol=1e-14)
    assert not torch.allclose(first.cov_xy, whole.cov_xy, atol=1e-4)
    assert first.n == 30
    with pytest.raises(NumericsError):
        first.merge(StreamingMoments(4, 4))


def test_a_scaled_accumulator_counts_its_sites_more_often(generator):
    x, y = torch.randn(60, 3, generator=generator), torch.randn(60, 2, generator=generator)
    mixed, repeated = StreamingMoments(3, 2), StreamingMoments(3, 2)
    mixed.update(x[:20], y[:20])
    rest = StreamingMoments(3, 2)
    rest.update(x[20:], y[20:])
    mixed = mixed.scaled(4.0).merge(rest)
    repeated.update(torch.cat([x[:20]] * 4 + [x[20:]]), torch.cat([y[:20]] * 4 + [y[20:]]))
    assert torch.allclose(mixed.cov_xy, repeated.cov_xy)
    assert torch.allclose(mixed.cov_xx, repeated.cov_xx)
    assert not torch.allclose(mixed.cov_xy, rest.cov_xy, atol=0.01)
    with pytest.raises(NumericsError):
        mixed.scaled(0.0)


def test_selected_inputs_are_those_of_the_columns(rng):
    x, y = codes(rng, 100, 6), codes(rng, 100, 3)
    whole, part = StreamingMoments(6, 3), StreamingMoments(2, 3)
    whole.update(x, y)
    part.update(scipy.sparse.csr_matrix(x[:, [4, 1]]), y)
    chosen = whole.select_inputs(torch.tensor([4, 1]))
    assert torch.allclose(chosen.cov_xx, part.cov_xx, atol=1e-14)
    assert torch.allclose(chosen.cov_xy, part.cov_xy, atol=1e-14)
    assert torch.equal(chosen.var_y, part.var_y)


def test_large_means_do_not_drown_the_variance(generator):
    x = torch.randn(2000, 2, generator=generator)
    moments = StreamingMoments(2, 2)
    moments.update(x + 1000, x + 1000)
    expected = (x + 1000).double().var(0, correction=0)
    assert torch.allclose(moments.var_y, expected, rtol=1e-6)
    assert not torch.allclose(
        (x + 1000).square().mean(0) - (x + 1000).mean(0).square(), expected.float(), rtol=1e-3
    )


def test_moments_refuse_what_does_not_fit():
    moments = StreamingMoments(2, 2)
    with pytest.raises(NumericsError):
        _ = moments.mean_x
    with pytest.raises(NumericsError):
        moments.update(torch.zeros(3, 2), scipy.sparse.csr_matrix((4, 2), dtype=np.float32))
    with pytest.raises(NumericsError):
        moments.update(torch.full((3, 2), torch.nan), torch.zeros(3, 2))


def test_explained_variance(generator):
    x = torch.randn(200, 4, generator=generator) + 3
    assert explained_variance(x, x) == 1
    assert explained_variance(x, x.mean(0).expand_as(x)) == pytest.approx(0, abs=1e-6)
    assert explained_variance(x, torch.zeros_like(x)) < 0
    with pytest.raises(NumericsError):
        explained_variance(torch.ones(5, 2), torch.ones(5, 2))
