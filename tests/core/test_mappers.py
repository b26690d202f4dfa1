"""Maps between planted spaces: what they recover, and that shuffled sites leave nothing."""

import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from conceptbasis.core.directions.mappers import (
    fit_affine_map,
    fit_contrast_recipe,
    fit_orthogonal_map,
    layer_at_depth,
    rebuild_by_map,
    rebuild_contrast,
)
from conceptbasis.core.directions.rebuild import rebuild_least_squares
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.errors import NumericsError

N_SITES, D_DONOR, D_TARGET = 3000, 12, 16


def randn(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def moments_of(x, y):
    moments = StreamingMoments(x.shape[1], y.shape[1])
    moments.update(x, y)
    return moments


def shuffled(y, generator):
    return y[torch.randperm(len(y), generator=generator)]


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


@pytest.fixture
def affine(generator):
    """Donor sites, the planted map and offset, and target sites."""
    x = randn(generator, N_SITES, D_DONOR) * torch.linspace(0.5, 2, D_DONOR) + 3
    weight, offset = randn(generator, D_DONOR, D_TARGET), randn(generator, D_TARGET) * 5
    return x, weight, offset, x @ weight + offset


# Affine


def test_affine_map_recovers_a_planted_map_and_its_offset(affine):
    x, weight, offset, y = affine
    mapped = fit_affine_map(moments_of(x, y), strength=1e-9)
    torch.testing.assert_close(mapped.weight, weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mapped.offset, offset, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mapped(x), y, rtol=1e-4, atol=1e-4)


def test_affine_map_of_shuffled_sites_knows_the_mean_only(affine, generator):
    x, weight, _, y = affine
    mapped = fit_affine_map(moments_of(x, shuffled(y, generator)), strength=1e-9)
    assert float(mapped.weight.norm()) < 0.15 * float(weight.norm())
    torch.testing.assert_close(mapped(x.mean(0)), y.mean(0))


def test_affine_and_least_squares_move_a_difference_alike(affine, generator):
    x, _, _, y = affine
    moments, delta = moments_of(x, y), randn(generator, D_DONOR)
    by_map = rebuild_by_map(delta, fit_affine_map(moments, strength=0.3))
    plain = rebuild_least_squares(delta, moments, strength=0.3)
    torch.testing.assert_close(by_map.direction, plain.direction)
    assert by_map.target_ids.numel() == 0


def test_map_of_another_width_is_refused(affine, generator):
    x, _, _, y = affine
    mapped = fit_affine_map(moments_of(x, y), strength=0.1)
    with pytest.raises(NumericsError, match="a donor difference of width 9"):
        rebuild_by_map(randn(generator, 9), mapped)


# Procrustes


def test_procrustes_recovers_a_planted_rotation_and_agrees_with_scipy(generator):
    x = randn(generator, N_SITES, D_DONOR) + 2
    rotation = torch.linalg.qr(randn(generator, D_DONOR, D_DONOR)).Q
    y = x @ rotation + 0.01 * randn(generator, N_SITES, D_DONOR) - 4
    mapped = fit_orthogonal_map(moments_of(x, y))
    torch.testing.assert_close(mapped.weight, rotation, rtol=0, atol=1e-3)
    theirs, _ = orthogonal_procrustes((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
    torch.testing.assert_close(mapped.weight, torch.from_numpy(theirs), rtol=0, atol=1e-9)
    torch.testing.assert_close(mapped(x.mean(0)), y.mean(0))


def test_procrustes_of_shuffled_sites_is_another_rotation(generator):
    x = randn(generator, N_SITES, D_DONOR)
    rotation = torch.linalg.qr(randn(generator, D_DONOR, D_DONOR)).Q
    mapped = fit_orthogonal_map(moments_of(x, shuffled(x @ rotation, generator)))
    delta = randn(generator, D_DONOR)
    assert cosine(delta @ mapped.weight, delta @ rotation) < 0.8


@pytest.mark.parametrize(("d_donor", "d_target"), [(8, 20), (20, 8)])
def test_procrustes_between_unequal_widths_is_semi_orthogonal(generator, d_donor, d_target):
    planted = torch.linalg.qr(randn(generator, 20, 8)).Q
    planted = planted.T if d_donor < d_target else planted
    x = randn(generator, N_SITES, d_donor)
    weight = fit_orthogonal_map(moments_of(x, x @ planted)).weight
    small = weight @ weight.T if d_donor < d_target else weight.T @ weight
    torch.testing.assert_close(small, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-9)
    if d_donor < d_target:
        torch.testing.assert_close(weight, planted, rtol=0, atol=1e-6)


def test_sides_that_do_not_vary_together_have_no_rotation():
    x, y = torch.eye(4, dtype=torch.float64), torch.ones(4, 3, dtype=torch.float64)
    with pytest.raises(NumericsError, match="do not vary together"):
        fit_orthogonal_map(moments_of(x, y))


@pytest.mark.parametrize(
    ("n_target", "n_donor", "expected"),
    [(4, 4, [0, 1, 2, 3]), (3, 9, [0, 4, 8]), (5, 2, [0, 0, 0, 1, 1]), (1, 6, [0])],
)
def test_layers_at_the_same_relative_depth(n_target, n_donor, expected):
    assert [layer_at_depth(j, n_target, n_donor) for j in range(n_target)] == expected


def test_a_layer_that_does_not_exist_has_no_depth():
    with pytest.raises(NumericsError, match="layer 4 of 4"):
        layer_at_depth(4, 4, 4)


# Contrast atoms


@pytest.fixture
def concepts(generator):
    """Donor atoms, target atoms of the same concepts, and coefficients."""
    donor, target = randn(generator, 6, D_DONOR), randn(generator, 6, D_TARGET)
    return donor, target, torch.tensor([2.0, -1.0, 0.5, 0.0, 1.5, -0.3], dtype=torch.float64)


def test_a_direction_in_the_span_of_atoms_is_rebuilt_in_the_target(concepts):
    donor, target, coefficients = concepts
    found = fit_contrast_recipe(coefficients @ donor, donor, strength=1e-9)
    torch.testing.assert_close(found, coefficients, rtol=1e-5, atol=1e-5)
    assert cosine(rebuild_contrast(found, target).direction, coefficients @ target) > 0.9999


def test_shuffled_concepts_rebuild_another_direction(concepts):
    donor, target, coefficients = concepts
    found = fit_contrast_recipe(coefficients @ donor, donor, strength=1e-9)
    moved = rebuild_contrast(found, target.roll(2, dims=0))
    assert abs(cosine(moved.direction, coefficients @ target)) < 0.6


def test_a_direction_off_the_span_has_small_coefficients(concepts):
    donor, _, coefficients = concepts
    basis = torch.linalg.svd(donor).Vh[6:]
    off = fit_contrast_recipe(basis[0] * coefficients.norm(), donor, strength=0.01)
    assert float(off.norm()) < 1e-9


def test_ridge_shrinks_coefficients(concepts):
    donor, _, coefficients = concepts
    norms = [
        float(fit_contrast_recipe(coefficients @ donor, donor, strength=s).norm())
        for s in (0.01, 0.1, 1.0, 10.0)
    ]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.3 * norms[0]


def test_atoms_that_carry_nothing_are_refused(concepts):
    donor, _, _ = concepts
    with pytest.raises(NumericsError, match="mean input variance 0"):
        fit_contrast_recipe(donor[0], torch.zeros_like(donor), strength=0.1)
    with pytest.raises(NumericsError, match="zero vector"):
        rebuild_contrast(torch.ones(6, dtype=torch.float64), torch.zeros_like(donor))
