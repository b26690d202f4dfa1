import pytest
import torch

from conceptbasis.core.directions.guard import apply_guard, guard_basis, overlap_curve
from conceptbasis.errors import NumericsError


@pytest.fixture
def writers(generator):
    spread = torch.logspace(0, -2, 24)[:, None]
    return [spread * torch.randn(24, d_in, generator=generator) for d_in in (16, 40)]


def joined(writers):
    return torch.cat([writer.double() / writer.double().norm() for writer in writers], dim=1)


def same_span(a, b):
    return torch.allclose(a.double() @ a.double().T, b.double() @ b.double().T, atol=1e-5)


def test_basis_is_the_left_singular_vectors_of_the_joined_writers(writers):
    U = guard_basis(writers, k=5)
    oracle = torch.linalg.svd(joined(writers)).U[:, :5]
    assert torch.allclose((U.double().T @ oracle).abs(), torch.eye(5).double(), atol=1e-4)
    unscaled = torch.linalg.svd(torch.cat([writers[0] * 50, writers[1]], dim=1)).U[:, :5]
    assert not same_span(U, unscaled)


def test_scale_of_a_writer_does_not_matter(writers):
    assert same_span(guard_basis(writers, k=4), guard_basis([writers[0] * 50, writers[1]], k=4))


def test_input_side_would_be_another_space(generator):
    W = torch.randn(12, 12, generator=generator)
    right = torch.linalg.svd(W.double()).Vh[:3].T
    assert not same_span(guard_basis([W], k=3), right)


def test_randomised_basis_equals_the_exact_one(writers, generator):
    exact = guard_basis(writers, k=4)
    assert same_span(guard_basis(writers, k=4, generator=generator, exact_up_to=8), exact)
    with pytest.raises(NumericsError):
        guard_basis(writers, k=4, exact_up_to=8)


def test_randomised_basis_of_a_wide_stream(generator):
    left = torch.linalg.qr(torch.randn(300, 6, generator=generator)).Q
    strengths = torch.tensor([9.0, 7.0, 5.0, 1.0, 0.9, 0.8])
    right = torch.linalg.qr(torch.randn(50, 6, generator=generator)).Q
    W = left * strengths @ right.T + 0.01 * torch.randn(300, 50, generator=generator)
    found = guard_basis([W], k=3, generator=generator, exact_up_to=10)
    assert same_span(found, torch.linalg.svd(W).U[:, :3])
    assert not same_span(found, left[:, 3:])


def test_guarded_direction_is_orthogonal_to_the_basis(writers, generator):
    U = guard_basis(writers, k=8)
    r = torch.randn(24, generator=generator)
    guarded = apply_guard(r, U, k=5)
    assert (U[:, :5].T @ guarded.direction).abs().max() < 1e-6
    assert (U[:, 5:].T @ guarded.direction).abs().max() > 1e-2
    assert float(guarded.direction.norm()) == pytest.approx(1)


def test_overlap_is_its_definition(writers, generator):
    U = guard_basis(writers, k=8)
    r = 7 * torch.randn(24, generator=generator)
    curve = overlap_curve(r, U)
    for k in (1, 3, 8):
        expected = float((U[:, :k].T @ r).square().sum() / r.square().sum())
        assert float(curve[k - 1]) == pytest.approx(expected, rel=1e-5)
        guarded = apply_guard(r, U, k=k)
        assert guarded.overlap_energy == pytest.approx(expected, rel=1e-5)
        assert guarded.removed_norm**2 == pytest.approx(expected, rel=1e-5)
    assert bool((curve.diff() >= 0).all())


def test_no_guard_is_the_identity(writers, generator):
    r = torch.randn(24, generator=generator)
    r = r / r.norm()
    free = apply_guard(r, guard_basis(writers, k=8), k=0)
    assert torch.allclose(free.direction, r, atol=1e-7)
    assert free.overlap_energy == 0
    assert not torch.allclose(apply_guard(r, guard_basis(writers, k=8), k=1).direction, r)
    assert guard_basis(writers, k=0).shape == (24, 0)


def test_a_direction_inside_the_guard_is_refused(writers):
    U = guard_basis(writers, k=3)
    with pytest.raises(NumericsError):
        apply_guard(U[:, 1], U, k=3)
    assert apply_guard(U[:, 1], U, k=1).overlap_energy < 1e-9


def test_impossible_guards_are_refused(writers):
    with pytest.raises(NumericsError):
        guard_basis([], k=1)
    with pytest.raises(NumericsError):
        guard_basis(writers, k=25)
    with pytest.raises(NumericsError):
        guard_basis([torch.zeros(4, 4)], k=1)
    with pytest.raises(NumericsError):
        apply_guard(torch.ones(24), guard_basis(writers, k=2), k=3)
