import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.cross_decomposition import CCA

from conceptbasis.core.similarity import (
    fingerprint,
    fingerprint_distance,
    linear_cka,
    projection_agreement,
    rsa,
    svcca,
    svcca_null,
)
from conceptbasis.errors import NumericsError


def rotation(d, generator):
    return torch.linalg.qr(torch.randn(d, d, generator=generator)).Q


@pytest.fixture
def spaces(generator):
    shared = torch.randn(500, 3, generator=generator)
    sides = []
    for d in (6, 9):
        mixed = shared @ torch.randn(3, d, generator=generator)
        sides.append(mixed + 0.7 * torch.randn(500, d, generator=generator))
    return sides


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
    assert svcca(x, 3 * x @ rotation(10, generator) + 1).score == pytest.approx(1, abs=1e-6)
    assert svcca(x, torch.randn(800, 10, generator=generator)).score < 0.2


def test_svcca_keeps_shares_of_the_variance_and_not_one_component(generator):
    singular = torch.tensor([50.0, 40.0, 30.0, 20.0, 0.1, 0.1])
    left = torch.randn(300, 6, generator=generator)
    left = torch.linalg.qr(left - left.mean(0)).Q
    x = left * singular @ rotation(6, generator)
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


def test_cka_equals_its_gram_form(spaces):
    x, y = (side.double() for side in spaces)
    centring = torch.eye(500).double() - 1 / 500
    k, m = (centring @ side @ side.T @ centring for side in (x, y))
    expected = float((k * m).sum() / (k.norm() * m.norm()))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)


def test_cka_ignores_rotations_but_not_general_maps(spaces, generator):
    x, _ = spaces
    assert linear_cka(x, 2 * x @ rotation(6, generator) - 3) == pytest.approx(1, abs=1e-6)
    assert linear_cka(x, x @ torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 0.1]))) < 0.99
    assert linear_cka(x, torch.ones(500, 2)) == 0


def test_rsa_equals_scipy(spaces):
    x, y = (side[:60] for side in spaces)
    distances = [pdist(side.double().numpy(), "correlation") for side in (x, y)]
    assert rsa(x, y) == pytest.approx(spearmanr(*distances).statistic, abs=1e-9)


def test_rsa_sees_which_rows_belong_together(spaces, generator):
    x, _ = (side[:60] for side in spaces)
    assert rsa(x, 2 * x + 1) == pytest.approx(1)
    assert abs(rsa(x, x[torch.randperm(60, generator=generator)])) < 0.3
    assert rsa(x, torch.ones(60, 3)) == 0
    with pytest.raises(NumericsError):
        rsa(x[:2], x[:2])


def test_fingerprints_ignore_rotation_shift_and_scale_but_not_order(generator):
    atoms = torch.randn(8, 12, generator=generator)
    moved = 4 * atoms @ rotation(12, generator) + torch.randn(12, generator=generator)
    base = fingerprint(atoms)
    assert fingerprint_distance(base, fingerprint(moved)) < 1e-6
    assert fingerprint_distance(base, fingerprint(moved.flip(0))) > 0.05
    assert torch.allclose(base.diagonal(), torch.ones(8))


def test_the_diagonal_has_no_part_in_the_distance(generator):
    a = fingerprint(torch.randn(6, 5, generator=generator))
    b = fingerprint(torch.randn(6, 5, generator=generator))
    off = [float(a[i, j] - b[i, j]) ** 2 for i in range(6) for j in range(6) if i != j]
    assert fingerprint_distance(a, b) == pytest.approx((sum(off) / 30) ** 0.5)
    assert fingerprint_distance(a, b) != pytest.approx(float((a - b).square().mean() ** 0.5))
    assert fingerprint_distance(a + 9 * torch.eye(6), b) == pytest.approx(
        fingerprint_distance(a, b)
    )


def test_fingerprints_of_equal_concepts_are_refused():
    with pytest.raises(NumericsError):
        fingerprint(torch.ones(3, 4))
    with pytest.raises(NumericsError):
        fingerprint_distance(torch.ones(1, 1), torch.ones(1, 1))


def test_projection_agreement_is_pearson(generator):
    a, b = torch.randn(2, 50, generator=generator)
    oracle = float(torch.corrcoef(torch.stack([a, a + b]))[0, 1])
    assert projection_agreement(a, a + b) == pytest.approx(oracle, abs=1e-6)
    assert projection_agreement(a, -3 * a + 5) == pytest.approx(-1)
    assert projection_agreement(a, torch.full((50,), 0.3)) == 0
