import pytest
import torch
from sklearn.linear_model import Ridge

from conceptbasis.core.features.sparse import ridge_from_moments
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.errors import NumericsError


def test_ridge_equals_sklearn(generator):
    x = torch.randn(300, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7)
    y = x @ torch.randn(6, 3, generator=generator, dtype=torch.float64) + 5
    y = y + torch.randn(300, 3, generator=generator, dtype=torch.float64)
    moments = StreamingMoments(6, 3)
    moments.update(x, y)
    ours = ridge_from_moments(moments.cov_xx, moments.cov_xy, strength=0.3)
    alpha = 0.3 * 300 * float(moments.cov_xx.diagonal().mean())
    oracle = torch.from_numpy(Ridge(alpha=alpha).fit(x.numpy(), y.numpy()).coef_.T)
    assert torch.allclose(ours, oracle, atol=1e-9)
    absolute = torch.from_numpy(Ridge(alpha=0.3).fit(x.numpy(), y.numpy()).coef_.T)
    assert not torch.allclose(ours, absolute, atol=1e-3)


def test_ridge_strength_is_relative_to_the_inputs(generator):
    x = torch.randn(100, 4, generator=generator)
    y = torch.randn(100, 2, generator=generator)
    maps = []
    for scale in (1.0, 100.0):
        moments = StreamingMoments(4, 2)
        moments.update(scale * x, y)
        maps.append(scale * ridge_from_moments(moments.cov_xx, moments.cov_xy, strength=0.5))
    assert torch.allclose(maps[0], maps[1], rtol=1e-4)


def test_dead_inputs_get_zero_rows_and_singular_systems_are_refused():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    moments = StreamingMoments(2, 1)
    moments.update(x, x[:, :1])
    solved = ridge_from_moments(moments.cov_xx, moments.cov_xy, strength=0.1)
    assert float(solved[1, 0]) == 0
    assert float(solved[0, 0]) > 0.5
    with pytest.raises(NumericsError):
        ridge_from_moments(moments.cov_xx, moments.cov_xy, strength=0.0)
    with pytest.raises(NumericsError):
        ridge_from_moments(torch.zeros(2, 2), torch.zeros(2, 1), strength=1.0)
