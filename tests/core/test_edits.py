import pytest
import torch

from conceptbasis.core.edits.projection import (
    ablate,
    add,
    affine,
    cap,
    orthogonalise,
    raise_above,
)


@pytest.fixture
def world(generator):
    h = torch.randn(3, 5, 8, generator=generator, dtype=torch.float64)
    r, other = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    return h, r / r.norm(), other / other.norm()


def test_ablation_leaves_no_component_and_is_idempotent(world):
    h, r, other = world
    once = ablate(h, r)
    assert (once @ r).abs().max() < 1e-12
    assert (once @ other).abs().max() > 0.1
    assert torch.allclose(ablate(once, r), once, atol=1e-12)
    assert not torch.allclose(ablate(once, other), once, atol=1e-3)


def test_ablation_keeps_the_complement(world):
    h, r, other = world
    across = other - (other @ r) * r
    assert torch.allclose(ablate(h, r) @ across, h @ across, atol=1e-12)
    assert not torch.allclose(ablate(h, other) @ across, h @ across, atol=1e-3)


def test_affine_leaves_the_component_of_the_mean(world):
    h, r, _ = world
    mean = h.mean((0, 1)) + 2 * r
    assert torch.allclose(affine(h, r, mean) @ r, (mean @ r).expand(3, 5), atol=1e-12)
    assert not torch.allclose(ablate(h, r) @ r, (mean @ r).expand(3, 5), atol=1e-3)
    assert torch.allclose(affine(h, r, torch.zeros_like(mean)), ablate(h, r), atol=1e-12)


def test_gamma_scales_what_is_taken_away(world):
    h, r, _ = world
    mean = h.mean((0, 1))
    for gamma in (-1.5, 0.0, 0.5, 2.0):
        ablated, moved = ablate(h, r, gamma=gamma), affine(h, r, mean, gamma=gamma)
        assert torch.allclose(ablated @ r, (1 - gamma) * (h @ r), atol=1e-12)
        assert torch.allclose((moved - mean) @ r, (1 - gamma) * ((h - mean) @ r), atol=1e-12)
        # Only the component along r changes.
        change = ablated - h
        assert torch.allclose(change, (change @ r)[..., None] * r, atol=1e-12)
    assert not torch.allclose(ablate(h, r, gamma=0.5), ablate(h, r), atol=1e-3)


def test_adding_moves_by_the_amount_and_back(world):
    h, r, other = world
    moved = add(h, r, 1.5)
    assert torch.allclose((moved - h) @ r, torch.full((3, 5), 1.5, dtype=torch.float64))
    assert torch.allclose(add(moved, r, -1.5), h, atol=1e-12)
    assert not torch.allclose(add(moved, other, -1.5), h, atol=1e-3)


def test_capping_brings_down_what_lies_above_the_mean_and_leaves_the_rest_to_the_bit(world):
    h, r, mean = world
    above = (h - mean) @ r > 0
    assert above.any()
    assert not above.all()
    capped = cap(h, r, mean)
    assert torch.equal(capped[~above], h[~above])
    assert torch.allclose(capped[above], affine(h, r, mean)[above], atol=1e-12)
    assert torch.allclose(cap(capped, r, mean), capped, atol=1e-12)
    half = cap(h, r, mean, gamma=0.5)
    assert torch.allclose(half, (h + capped) / 2, atol=1e-12)
    assert (affine(h, r, mean)[~above] - h[~above]).abs().max() > 0.01


def test_what_lies_below_the_threshold_stays_to_the_bit_and_what_lies_above_is_pushed(world):
    h, r, gate = world
    mean = h.mean((0, 1))
    reading = (h - mean) @ gate
    threshold = float(reading.quantile(0.6))
    raised = raise_above(h, r, gate, mean, threshold, gamma=-0.5)
    above = reading > threshold
    assert 0 < int(above.sum()) < above.numel()
    assert torch.equal(raised[~above], h[~above])
    pushed = (raised - h)[above]
    assert torch.allclose(pushed @ r, 0.5 * (reading[above] - threshold), atol=1e-12)
    assert torch.allclose(pushed, (pushed @ r)[:, None] * r, atol=1e-12)
    # The two-sided edit moves both.
    assert (affine(h, r, mean, gamma=-0.5)[~above] - h[~above]).abs().max() > 0.01


def test_orthogonalised_weights_write_nothing_along_the_direction(world, generator):
    _, r, other = world
    W = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    removed = orthogonalise(W, r)
    x = torch.randn(6, generator=generator, dtype=torch.float64)
    assert (r @ removed).abs().max() < 1e-12
    assert (other @ removed).abs().max() > 0.1
    assert torch.allclose(removed @ x, ablate(W @ x, r), atol=1e-12)


def test_gamma_two_reflects_and_gamma_one_does_not(world, generator):
    _, r, other = world
    W = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    reflected = orthogonalise(W, r, gamma=2.0)
    removed = orthogonalise(W, r, gamma=1.0)
    assert torch.allclose(reflected.norm(dim=0), W.norm(dim=0))
    assert not torch.allclose(removed.norm(dim=0), W.norm(dim=0))
    assert torch.allclose(orthogonalise(reflected, r, gamma=2.0), W)
    assert not torch.allclose(orthogonalise(removed, r, gamma=2.0), W)
    assert not torch.allclose(orthogonalise(reflected, other, gamma=2.0), W)
    assert torch.equal(orthogonalise(W, r, gamma=0.0), W)
    assert (r @ orthogonalise(W, r, gamma=-1.0)).norm() > (r @ W).norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_dtype_is_kept_and_half_precision_projects_in_float32(world, dtype):
    h, r, _ = world
    low = h.to(dtype)
    # A large common component makes half-precision projections visibly wrong.
    low = low + (300 * r).to(dtype)
    edited = ablate(low, r.float())
    exact = ablate(low.double(), r)
    assert edited.dtype == dtype
    half_ulp = torch.finfo(dtype).eps * exact.abs().max() / 2
    assert (edited.double() - exact).abs().max() <= half_ulp + 1e-3


def test_projection_in_bfloat16_would_leave_a_component(world):
    h, r, _ = world
    low = h.to(torch.bfloat16) + (300 * r).to(torch.bfloat16)
    naive_r = r.to(torch.bfloat16)
    naive = low - (low @ naive_r)[..., None] * naive_r
    careful = ablate(low, r.float())
    assert (careful.double() @ r).abs().max() < 0.1 * (naive.double() @ r).abs().max()


def test_norm_of_the_direction_does_not_matter(world):
    h, r, _ = world
    assert torch.allclose(ablate(h, 3 * r), ablate(h, r), atol=1e-12)
    assert not torch.allclose(ablate(h, r) - h, 3 * (ablate(h, r) - h))
