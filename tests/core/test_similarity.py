import pytest
import torch
from planted import planted_rotation

from conceptbasis.core.layers.similarity import (
    fingerprint,
    fingerprint_distance,
    linear_cka,
    projection_agreement,
)
from conceptbasis.errors import NumericsError


def test_cka_equals_its_gram_form(spaces):
    x, y = (side.double() for side in spaces)
    centring = torch.eye(500).double() - 1 / 500
    k, m = (centring @ side @ side.T @ centring for side in (x, y))
    expected = float((k * m).sum() / (k.norm() * m.norm()))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)


def test_cka_ignores_rotations_but_not_general_maps(spaces, generator):
    x, _ = spaces
    assert linear_cka(x, 2 * x @ planted_rotation(6, generator) - 3) == pytest.approx(1, abs=1e-6)
    assert linear_cka(x, x @ torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 0.1]))) < 0.99
    assert linear_cka(x, torch.ones(500, 2)) == 0


def test_fingerprints_ignore_rotation_shift_and_scale_but_not_order(generator):
    atoms = torch.randn(8, 12, generator=generator)
    moved = 4 * atoms @ planted_rotation(12, generator) + torch.randn(12, generator=generator)
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
