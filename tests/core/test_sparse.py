import pytest
import torch
from sklearn.linear_model import Ridge, orthogonal_mp

from conceptbasis.core.features.sparse import omp, ridge_from_moments
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.errors import NumericsError


@pytest.mark.parametrize("n_nonzero", [1, 4, 9])
def test_omp_equals_sklearn(n_nonzero, generator):
    atoms = torch.randn(40, 16, generator=generator, dtype=torch.float64)
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    target = torch.randn(16, generator=generator, dtype=torch.float64)
    ids, coefficients = omp(atoms, target, n_nonzero=n_nonzero)
    ours = torch.zeros(40, dtype=torch.float64)
    ours[ids] = coefficients
    oracle = torch.from_numpy(
        orthogonal_mp(atoms.T.numpy(), target.numpy(), n_nonzero_coefs=n_nonzero)
    )
    assert torch.allclose(ours, oracle, atol=1e-10)
    assert ids.numel() == n_nonzero


def test_omp_choice_ignores_row_norms_and_sklearn_s_does_not(generator):
    atoms = torch.randn(40, 16, generator=generator, dtype=torch.float64)
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    scale = torch.rand(40, 1, generator=generator, dtype=torch.float64) + 0.01
    target = torch.randn(16, generator=generator, dtype=torch.float64)
    unit_ids, unit = omp(atoms, target, n_nonzero=4)
    scaled_ids, scaled = omp(scale * atoms, target, n_nonzero=4)
    assert torch.equal(unit_ids, scaled_ids)
    assert torch.allclose(unit, scaled * scale[scaled_ids, 0])
    raw = orthogonal_mp((scale * atoms).T.numpy(), target.numpy(), n_nonzero_coefs=4)
    assert set(raw.nonzero()[0]) != set(scaled_ids.tolist())


def test_omp_stops_when_nothing_is_left():
    atoms = torch.cat([torch.eye(4), torch.zeros(1, 4)])
    ids, coefficients = omp(atoms, torch.tensor([0.0, 3.0, 0.0, -2.0]), n_nonzero=4)
    assert ids.tolist() == [1, 3]
    assert torch.allclose(coefficients, torch.tensor([3.0, -2.0], dtype=torch.float64))
    assert omp(atoms, torch.zeros(4), n_nonzero=2)[0].numel() == 0
    with pytest.raises(NumericsError):
        omp(atoms, torch.ones(4), n_nonzero=0)


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
