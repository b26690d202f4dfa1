"""The non-linear map against a planted non-linear truth, an affine map, and shuffled sites."""

import pytest
import torch

from conceptbasis.core.directions.mappers import fit_affine_map
from conceptbasis.core.directions.relu_map import Sites, fit_relu_map, hidden_width
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.errors import NumericsError

N_SITES, D_DONOR, D_TARGET = 6000, 16, 36


@pytest.fixture
def planted(generator):
    """Sites of a map with kinks, half to fit and half held out; one donor column is constant."""
    x = 3 * torch.randn(N_SITES, D_DONOR, generator=generator)
    x[:, 3] = 0.5
    first = torch.randn(D_DONOR, 3, generator=generator)
    second = torch.randn(3, D_TARGET, generator=generator)
    y = (x @ first).abs() @ second + 20
    return sites(x[::2], y[::2]), sites(x[1::2], y[1::2])


def sites(x, y):
    return Sites(x, y, torch.ones(len(x), dtype=torch.float64))


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def fit(fitted, heldout, seed=3):
    """At a rate at which a narrow map is trained in its few steps."""
    return fit_relu_map(fitted, heldout, generator=seeded(seed), learning_rate=0.01)


def test_it_fits_a_planted_map_with_kinks_that_an_affine_map_cannot(planted):
    fitted, heldout = planted
    mapped = fit(fitted, heldout)
    moments = StreamingMoments(D_DONOR, D_TARGET)
    moments.update(fitted.x, fitted.y)
    affine = fit_affine_map(moments, strength=1e-6)
    ours, theirs = (
        float((f(heldout.x) - heldout.y).square().mean() / heldout.y.var(0).mean())
        for f in (mapped, affine)
    )
    assert ours < 0.1
    assert ours < 0.25 * theirs
    assert mapped.error < 0.1


def test_it_learns_nothing_from_shuffled_rows(planted):
    fitted, heldout = planted
    order = torch.randperm(len(fitted.y), generator=seeded())
    mapped = fit(sites(fitted.x, fitted.y[order]), heldout)
    assert mapped.error > 0.9


def test_the_same_generator_gives_the_same_map(planted):
    a, b = (fit(*planted) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters, b.parameters, strict=True))
    other = fit(*planted, seed=4)
    assert not torch.equal(a.parameters[0], other.parameters[0])


def test_training_stops_when_held_out_sites_get_worse(planted):
    """Few noisy sites are soon learnt by heart."""
    fitted, heldout = planted
    noise = torch.randn(230, D_TARGET, generator=seeded())
    few, others = sites(fitted.x[:30], noise[:30]), sites(heldout.x[:200], noise[30:])
    mapped = fit(few, others)
    assert mapped.n_steps <= 100


def test_sites_without_weight_are_not_learnt(planted):
    fitted, heldout = planted
    wrong = fitted.y.clone()
    wrong[: len(wrong) // 2] = 1000.0
    weights = torch.ones(len(wrong), dtype=torch.float64)
    weights[: len(wrong) // 2] = 1e-12
    mapped = fit(Sites(fitted.x, wrong, weights), heldout)
    assert mapped.error < 0.2


def test_width_is_the_geometric_mean():
    assert hidden_width(112, 96) == 104
    assert hidden_width(1, 1) == 1


def test_it_keeps_the_best_step_and_the_width(planted):
    mapped = fit(*planted)
    assert mapped.parameters[0].shape == (D_DONOR, hidden_width(D_DONOR, D_TARGET))
    assert mapped.n_steps % 25 == 0
    assert mapped(planted[1].x[0]).shape == (D_TARGET,)


def test_no_sites_and_nan_are_refused(planted):
    fitted, heldout = planted
    with pytest.raises(NumericsError, match="no sites"):
        fit(sites(fitted.x[:0], fitted.y[:0]), heldout)
    broken = fitted.x.clone()
    broken[0, 0] = float("nan")
    with pytest.raises(NumericsError, match="donor residuals holds 1 NaN"):
        fit(sites(broken, fitted.y), heldout)
