import numpy as np
import pytest
import scipy.sparse
import torch
from planted import D_DONOR, D_TARGET, N_TRUE, match, planted_world

from conceptbasis.core.directions.rebuild import (
    rebuild_code_map,
    rebuild_least_squares,
    rebuild_matched,
    rebuild_transported,
)
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.features.partners import CodePair, feature_stats
from conceptbasis.core.statistics.intervals import Interval
from conceptbasis.core.statistics.moments import StreamingMoments
from conceptbasis.errors import NumericsError

COEFFICIENTS = torch.tensor([2.0, -1.5, 1.0, 0.7])
FEATURES = torch.tensor([5, 2, 17, 9])


@pytest.fixture(scope="module")
def world():
    return planted_world(gain=1.7)


@pytest.fixture(scope="module")
def recipe():
    one = torch.ones(4)
    mass = Interval(1.0, 1.0, 1.0, 9)
    return Recipe(FEATURES, COEFFICIENTS, COEFFICIENTS, COEFFICIENTS, one, mass, 1.0, N_TRUE)


def truth(world):
    """What the same true features amount to in the target."""
    return COEFFICIENTS @ world.W_dec_target[world.partner[FEATURES]] * 1.7


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


def moments_between(x, y, *, shuffle=False):
    moments = StreamingMoments(x.shape[1], y.shape[1])
    if shuffle:
        order = torch.randperm(y.shape[0], generator=torch.Generator().manual_seed(4))
        y = y[order.numpy()] if scipy.sparse.issparse(y) else y[order]
    moments.update(x, y)
    return moments


def recipe_codes(world):
    return scipy.sparse.csr_matrix(world.donor_codes[:, FEATURES.numpy()])


def readout_of(codes, residuals):
    return lambda ids: moments_between(scipy.sparse.csr_matrix(codes[:, ids.numpy()]), residuals)


def code_map(world, recipe, *, shuffle=False, **options):
    settings = {"outputs": match(world).eligible_target, "strength": 0.01, "n_atoms": 4}
    settings |= {"W_dec_target": world.W_dec_target}
    settings |= {"readout": readout_of(world.target_codes, world.residuals[1])} | options
    codes = scipy.sparse.csr_matrix(world.target_codes[:, settings["outputs"].numpy()])
    moments = moments_between(recipe_codes(world), codes, shuffle=shuffle)
    return rebuild_code_map(recipe, moments, settings.pop("readout"), **settings)


def test_code_map_recovers_the_planted_recipe_in_the_target(world, recipe):
    rebuilt = code_map(world, recipe)
    assert set(rebuilt.target_ids.tolist()) == set(world.partner[FEATURES].tolist())
    assert cosine(rebuilt.direction, truth(world)) > 0.99
    order = [world.partner[FEATURES].tolist().index(i) for i in rebuilt.target_ids.tolist()]
    assert torch.allclose(rebuilt.target_coefficients, 1.7 * COEFFICIENTS[order], rtol=0.05)
    written = rebuilt.target_coefficients @ world.W_dec_target[rebuilt.target_ids]
    assert cosine(rebuilt.steering, written) > 0.99
    assert float(rebuilt.direction.norm()) == pytest.approx(1)


def test_code_map_fails_on_shuffled_sites_and_on_foreign_targets(world, recipe):
    assert abs(cosine(code_map(world, recipe, shuffle=True).direction, truth(world))) < 0.7
    private = torch.ones(D_TARGET, dtype=torch.bool)
    private[world.partner] = False
    foreign = code_map(world, recipe, outputs=private.nonzero()[:, 0])
    assert abs(cosine(foreign.direction, truth(world))) < 0.5


def test_code_map_restores_what_the_target_sae_leaves_out(world, recipe, generator):
    """Where residuals hold more than the decoder writes, regressed rows follow the residuals."""
    missed = 0.5 * torch.randn(D_TARGET, 96, generator=generator)
    full = torch.from_numpy(world.target_codes.toarray()) @ (world.W_dec_target + missed)
    rebuilt = code_map(world, recipe, readout=readout_of(world.target_codes, full))
    partners = world.partner[FEATURES]
    whole = COEFFICIENTS @ (world.W_dec_target + missed)[partners]
    assert cosine(rebuilt.direction, whole) > 0.95
    assert cosine(truth(world), whole) < 0.5


def test_donor_as_its_own_target_returns_the_recipe(world, recipe):
    moments = moments_between(recipe_codes(world), world.donor_codes)
    rebuilt = rebuild_code_map(
        recipe, moments, readout_of(world.donor_codes, world.residuals[0]),
        W_dec_target=world.W_dec, strength=1e-6, n_atoms=4,
        outputs=torch.arange(D_DONOR),
    )  # fmt: skip
    back = dict(zip(rebuilt.target_ids.tolist(), rebuilt.target_coefficients.tolist(), strict=True))
    assert set(back) == set(FEATURES.tolist())
    assert [back[i] for i in FEATURES.tolist()] == pytest.approx(COEFFICIENTS.tolist(), rel=1e-3)


def test_a_rotated_target_gives_the_rotated_direction(world, recipe, generator):
    Q = torch.linalg.qr(torch.randn(96, 96, generator=generator)).Q
    moments = moments_between(recipe_codes(world), world.target_codes)
    every = torch.arange(D_TARGET)
    plain, rotated = (
        rebuild_code_map(
            recipe,
            moments,
            readout_of(world.target_codes, world.residuals[1] @ turn),
            W_dec_target=world.W_dec_target @ turn,
            outputs=every,
            strength=0.1,
        ).direction
        for turn in (torch.eye(96), Q)
    )
    assert torch.allclose(rotated, plain @ Q, atol=1e-5)
    assert abs(cosine(rotated, plain)) < 0.5


def test_code_map_ranks_by_what_a_feature_writes(world, recipe, generator):
    scale = torch.logspace(-2, 2, D_TARGET)[torch.randperm(D_TARGET, generator=generator)]
    codes = scipy.sparse.csr_matrix(world.target_codes @ scipy.sparse.diags(1 / scale.numpy()))
    moments = moments_between(recipe_codes(world), codes)
    options = {"outputs": torch.arange(D_TARGET), "strength": 0.01, "n_atoms": 4}
    rows = world.W_dec_target * scale[:, None]
    readout = readout_of(codes, world.residuals[1])
    rescaled = rebuild_code_map(recipe, moments, readout, W_dec_target=rows, **options)
    plain = code_map(world, recipe, **options)
    assert torch.equal(rescaled.target_ids, plain.target_ids)
    unscaled = rebuild_code_map(
        recipe, moments, readout, W_dec_target=world.W_dec_target, **options
    )
    assert not torch.equal(unscaled.target_ids, plain.target_ids)


def test_transported_recovers_the_direction_and_a_shuffle_does_not(world, recipe):
    _, residuals = world.residuals
    aligned = moments_between(recipe_codes(world), residuals)
    rebuilt = rebuild_transported(recipe, aligned, strength=0.01)
    assert cosine(rebuilt.direction, truth(world)) > 0.95
    assert rebuilt.target_ids.numel() == rebuilt.target_coefficients.numel() == 0
    broken = moments_between(recipe_codes(world), residuals, shuffle=True)
    other = rebuild_transported(recipe, broken, strength=0.01)
    assert abs(cosine(other.direction, truth(world))) < 0.7


def stats(world):
    return feature_stats([CodePair(world.donor_codes, world.target_codes)])


def test_matched_recovers_the_direction_with_true_slopes(world, recipe):
    rebuilt = rebuild_matched(recipe, match(world), *stats(world), W_dec_target=world.W_dec_target)
    assert cosine(rebuilt.direction, truth(world)) > 0.99
    assert cosine(rebuilt.steering, truth(world)) > 0.99
    assert float(rebuilt.steering.norm()) == pytest.approx(float(truth(world).norm()), rel=0.05)
    assert set(rebuilt.target_ids.tolist()) == set(world.partner[FEATURES].tolist())


def test_shuffled_matches_and_no_matches_do_not_rebuild(world, recipe, generator):
    matches = match(world)
    order = torch.randperm(N_TRUE, generator=generator)
    swapped = type(matches)(**{**vars(matches), "target_ids": matches.target_ids[order]})
    rebuilt = rebuild_matched(recipe, swapped, *stats(world), W_dec_target=world.W_dec_target)
    assert abs(cosine(rebuilt.direction, truth(world))) < 0.6
    with pytest.raises(NumericsError):
        rebuild_matched(
            recipe, match(world, shuffle=True), *stats(world), W_dec_target=world.W_dec_target
        )


def test_least_squares_recovers_a_linear_map_of_residuals(generator):
    Q = torch.randn(10, 14, generator=generator)
    x = torch.randn(3000, 10, generator=generator) + 5
    delta = torch.randn(10, generator=generator)
    rebuilt = rebuild_least_squares(delta, moments_between(x, x @ Q), strength=1e-6)
    assert torch.allclose(rebuilt.steering, delta @ Q, rtol=1e-3, atol=1e-3)
    broken = rebuild_least_squares(delta, moments_between(x, x @ Q, shuffle=True), strength=1e-6)
    assert float(broken.steering.norm()) < 0.3 * float(rebuilt.steering.norm())
    with pytest.raises(NumericsError):
        rebuild_least_squares(delta[:9], moments_between(x, x), strength=0.1)


def test_moments_of_other_features_and_silent_ones_are_refused(world, recipe):
    wrong = moments_between(world.donor_codes, world.target_codes)
    with pytest.raises(NumericsError):
        rebuild_transported(recipe, wrong, strength=0.1)
    silent = scipy.sparse.csr_matrix((6000, 4), dtype=np.float32)
    silence = moments_between(silent, world.target_codes)
    with pytest.raises(NumericsError):
        rebuild_transported(recipe, silence, strength=0.1)
    with pytest.raises(NumericsError):
        code_map(world, recipe, outputs=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(NumericsError):
        code_map(world, recipe, n_atoms=0)
