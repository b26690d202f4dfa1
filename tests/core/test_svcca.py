import pytest
import torch
from planted import planted_rotation
from sklearn.cross_decomposition import CCA

from conceptbasis.core.layers.svcca import StreamingCovariances, svcca, svcca_null
from conceptbasis.errors import NumericsError


def test_svcca_keeping_everything_equals_sklearn_cca(spaces):
    x, y = spaces
    result = svcca(x, y, keep_variance=1.0)
    cca = CCA(n_components=6, max_iter=5000, tol=1e-10).fit(x.numpy(), y.numpy())
    u, v = (torch.from_numpy(side) for side in cca.transform(x.numpy(), y.numpy()))
    oracle = torch.stack([torch.corrcoef(torch.stack([u[:, i], v[:, i]]))[0, 1] for i in range(6)])
    assert (result.k_x, result.k_y) == (6, 9)
    assert torch.allclose(
        result.correlations, oracle.sort(descending=True).values.float(), atol=2e-3
    )
    assert result.score == pytest.approx(float(oracle.mean()), abs=2e-3)


def test_svcca_is_one_for_a_rotation_and_low_for_noise(generator):
    x = torch.randn(800, 10, generator=generator)
    assert svcca(x, 3 * x @ planted_rotation(10, generator) + 1).score == pytest.approx(1, abs=1e-6)
    assert svcca(x, torch.randn(800, 10, generator=generator)).score < 0.2


def test_svcca_keeps_shares_of_the_variance_and_not_one_component(generator):
    singular = torch.tensor([50.0, 40.0, 30.0, 20.0, 0.1, 0.1])
    left = torch.randn(300, 6, generator=generator)
    left = torch.linalg.qr(left - left.mean(0)).Q
    x = left * singular @ planted_rotation(6, generator)
    assert svcca(x, x).k_x == 4
    assert svcca(x, x, keep_variance=0.4).k_x == 1
    assert svcca(x, x, keep_variance=0.7).k_x == 2


def test_svcca_ignores_dead_columns_and_rank_deficiency(spaces):
    x, y = spaces
    dead = torch.cat([x, torch.zeros(500, 2), torch.full((500, 1), 7.3)], dim=1)
    doubled = torch.cat([y, y[:, :4]], dim=1)
    for keep in (0.99, 1.0):
        assert svcca(dead, y, keep_variance=keep).score == pytest.approx(
            svcca(x, y, keep_variance=keep).score, abs=1e-9
        )
    assert svcca(x, doubled, keep_variance=1.0).k_y == 9
    assert svcca(torch.ones(500, 3), y).score == 0
    assert svcca(torch.ones(500, 3), y).k_x == 0


def test_svcca_by_covariance_equals_svcca_by_svd(generator):
    x = torch.randn(60, 25, generator=generator)
    y = x[:, :20] + torch.randn(60, 20, generator=generator)
    wide = torch.cat([x, x], dim=1)  # 60 < 2·50 rows: the other route, the same space
    assert svcca(wide, y).score == pytest.approx(svcca(x, y).score, abs=1e-9)


def test_svcca_null_is_below_the_score_of_related_spaces_only(spaces, generator):
    x, y = spaces
    null = svcca_null(x, y, n_draws=20, generator=generator)
    assert svcca(x, y).score > float(null.max()) + 0.2
    noise = torch.randn(500, 9, generator=generator)
    noise_null = svcca_null(x, noise, n_draws=20, generator=generator)
    assert abs(svcca(x, noise).score - float(noise_null.mean())) < 4 * float(noise_null.std())


def test_svcca_refuses_shares_that_are_none(spaces):
    with pytest.raises(NumericsError):
        svcca(*spaces, keep_variance=0.0)
    with pytest.raises(NumericsError):
        svcca(spaces[0] * torch.nan, spaces[1])


def direct(x, y, keep_variance):
    """By two float64 SVDs of the data itself."""
    bases = []
    for side in (x.double(), y.double()):
        left, singular, _ = torch.linalg.svd(side - side.mean(0), full_matrices=False)
        energy = singular.square()
        kept = (energy.cumsum(0) - energy) / energy.sum() < keep_variance
        bases.append(left[:, kept & (energy > 1e-12 * energy[0])])
    return torch.linalg.svdvals(bases[0].T @ bases[1])


@pytest.mark.parametrize(("products", "atol"), [(torch.float64, 1e-7), (torch.float32, 1e-5)])
def test_streamed_covariances_give_the_direct_computation(generator, products, atol):
    """In batches, with large means and unlike scales, as residual streams have them."""
    shared = torch.randn(3000, 5, generator=generator)
    sides = []
    for d in (30, 40):
        scale = torch.logspace(-1, 2, d)
        mixed = shared @ torch.randn(5, d, generator=generator)
        noise = torch.randn(3000, d, generator=generator)
        sides.append((mixed + noise) * scale + 300 * torch.randn(d, generator=generator))
    streamed = StreamingCovariances(30, 40, products=products)
    for rows in zip(*(side.split([1, 999, 2000]) for side in sides), strict=True):
        streamed.update(*rows)
    found = streamed.svcca(keep_variance=0.999)
    oracle = direct(*sides, 0.999)
    assert len(oracle) == min(found.k_x, found.k_y)
    torch.testing.assert_close(found.correlations, oracle.float(), atol=atol, rtol=0)
    assert found.k_x < 30


def test_streamed_covariances_refuse_what_does_not_fit():
    streamed = StreamingCovariances(3, 4)
    with pytest.raises(NumericsError, match="no sites"):
        streamed.svcca()
    with pytest.raises(NumericsError, match="widths"):
        streamed.update(torch.zeros(5, 4), torch.zeros(5, 4))
    with pytest.raises(NumericsError):
        streamed.update(torch.full((5, 3), torch.nan), torch.zeros(5, 4))
