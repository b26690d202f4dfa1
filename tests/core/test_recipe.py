import pytest
import torch

from conceptbasis.core.directions.recipe import fit_recipe
from conceptbasis.errors import NumericsError

D_SAE, D_MODEL = 60, 48
PLANTED = {3: 2.0, 7: -1.5, 11: 1.0, 20: 0.8}


@pytest.fixture
def W_dec(generator):
    rows = torch.randn(D_SAE, D_MODEL, generator=generator)
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.fixture
def codes(generator):
    """Harmful and harmless codes that differ in the planted features only."""
    sides = []
    for n in (120, 150):
        active = torch.rand(n, D_SAE, generator=generator) < 0.1
        sides.append(active * torch.rand(n, D_SAE, generator=generator))
    for feature, amount in PLANTED.items():
        sides[0 if amount > 0 else 1][:, feature] += abs(amount)
    return sides


def planted_direction(W_dec):
    return sum(amount * W_dec[feature] for feature, amount in PLANTED.items())


def everything():
    return torch.ones(D_SAE, dtype=torch.bool)


def fit(codes, W_dec, seed=5, **options):
    settings = {"direction": planted_direction(W_dec), "eligible": everything(), "n_atoms": 4}
    return fit_recipe(
        *codes, W_dec=W_dec, generator=torch.Generator().manual_seed(seed), **settings | options
    )


def test_a_planted_recipe_is_recovered(codes, W_dec):
    recipe = fit(codes, W_dec)
    assert recipe.feature_ids.tolist() == list(PLANTED)
    assert torch.allclose(recipe.coefficients, torch.tensor(list(PLANTED.values())), atol=0.05)
    assert recipe.donor_cosine > 0.99
    assert recipe.selection_frequency.min() == 1
    assert bool((recipe.low <= recipe.coefficients).all())
    assert bool((recipe.coefficients <= recipe.high).all())
    assert not recipe.unstable.any()


def test_shuffled_labels_recover_nothing(codes, W_dec, generator):
    rows = torch.cat(codes)[torch.randperm(270, generator=generator)]
    recipe = fit((rows[:120], rows[120:]), W_dec, n_atoms=8)
    assert recipe.coefficients.abs().max() < 0.5
    assert abs(recipe.donor_cosine) < 0.95
    outside = torch.isin(recipe.feature_ids, torch.tensor(list(PLANTED)), invert=True)
    assert bool(outside.any())


def test_coefficients_are_differences_and_not_refits(codes, W_dec):
    other = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(9))
    unrelated = fit(codes, W_dec, direction=other)
    assert torch.equal(unrelated.coefficients, fit(codes, W_dec).coefficients)
    assert abs(unrelated.donor_cosine) < 0.6


def test_intervals_cover_the_planted_amounts(codes, W_dec):
    recipe = fit(codes, W_dec, n_resamples=500)
    for amount, low, high in zip(PLANTED.values(), recipe.low, recipe.high, strict=True):
        assert low - 0.02 <= amount <= high + 0.02
        assert high - low < 0.15
    few = fit([side[:12] for side in codes], W_dec)
    assert (few.high - few.low).mean() > 2 * (recipe.high - recipe.low).mean()


def test_noise_atoms_are_unstable(codes, W_dec):
    recipe = fit(codes, W_dec, n_atoms=10)
    assert recipe.selection_frequency[:4].min() == 1
    assert recipe.selection_frequency[4:].min() < 0.7
    assert bool((recipe.unstable == (recipe.selection_frequency < 0.5)).all())


def test_only_eligible_features_are_used_and_their_mass_is_reported(codes, W_dec):
    eligible = everything()
    eligible[[3, 50]] = False
    recipe = fit(codes, W_dec, eligible=eligible)
    delta = (codes[0].double().mean(0) - codes[1].double().mean(0)).abs()
    assert 3 not in recipe.feature_ids.tolist()
    assert recipe.n_eligible == D_SAE - 2
    assert recipe.eligible_mass.value == pytest.approx(float(delta[eligible].sum() / delta.sum()))
    assert recipe.eligible_mass.low < recipe.eligible_mass.value < recipe.eligible_mass.high
    assert recipe.eligible_mass.n == 270
    assert fit(codes, W_dec).eligible_mass.value == 1


def test_an_empty_recipe_is_a_verdict_and_equal_classes_are_not(codes, W_dec):
    recipe = fit(codes, W_dec, eligible=~everything())
    assert recipe.feature_ids.numel() == 0
    assert recipe.donor_cosine == 0
    assert recipe.eligible_mass.value == 0
    with pytest.raises(NumericsError):
        fit((torch.ones(3, D_SAE), torch.ones(3, D_SAE)), W_dec)
    with pytest.raises(NumericsError):
        fit(codes, W_dec, n_atoms=0)


def test_the_split_of_norm_between_codes_and_rows_does_not_matter(codes, W_dec, generator):
    scale = torch.rand(D_SAE, generator=generator) * 9 + 0.1
    shrunk, direction = [side / scale for side in codes], planted_direction(W_dec)
    scaled, plain = fit(shrunk, W_dec * scale[:, None], direction=direction), fit(codes, W_dec)
    assert torch.equal(scaled.feature_ids, plain.feature_ids)
    assert scaled.donor_cosine == pytest.approx(plain.donor_cosine, abs=1e-6)
    assert not torch.equal(fit(shrunk, W_dec).feature_ids, plain.feature_ids)


def test_resampling_is_reproducible(codes, W_dec):
    first, again, other = (fit(codes, W_dec, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.low, again.low)
    assert not torch.equal(first.low, other.low)


def test_a_recipe_stops_where_a_share_of_its_mass_is_held(codes, W_dec):
    whole = fit(codes, W_dec, n_atoms=20)
    sizes = whole.coefficients.abs() * W_dec[whole.feature_ids].norm(dim=1)
    for mass in (0.3, 0.6, 0.9):
        cut = fit(codes, W_dec, n_atoms=20, mass=mass)
        n = len(cut.feature_ids)
        assert cut.feature_ids.tolist() == whole.feature_ids[:n].tolist()
        assert sizes[:n].sum() >= mass * sizes.sum() - 1e-5
        assert sizes[: n - 1].sum() < mass * sizes.sum()
    assert len(whole.feature_ids) == 20
    assert len(fit(codes, W_dec, n_atoms=20, mass=1e-9).feature_ids) == 1
    with pytest.raises(NumericsError, match="share"):
        fit(codes, W_dec, mass=0.0)


def test_atoms_near_the_cut_off_are_the_ones_that_change(codes, W_dec):
    """With a cut at a share of the mass only what is planted is left, and it is always chosen."""
    loose, cut = fit(codes, W_dec, n_atoms=20), fit(codes, W_dec, n_atoms=20, mass=0.8)
    assert float(loose.selection_frequency.min()) < 0.9
    assert set(cut.feature_ids.tolist()) == set(PLANTED)
    assert float(cut.selection_frequency.min()) > 0.9
