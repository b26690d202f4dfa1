"""Halves of prompts: no noun in both, and a recipe that is there comes out of either."""

from dataclasses import asdict

import pytest
import torch

from conceptbasis.core.directions.recipe import fit_recipe
from conceptbasis.core.directions.stability import cosine, jaccard, split_halves, spread_of
from conceptbasis.errors import NumericsError

N, D_SAE, N_PLANTED = 160, 80, 6


def test_no_group_stands_in_both_halves(generator):
    groups = torch.randint(9, (N,), generator=generator)
    first, second = split_halves(groups, generator)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(N))
    assert not set(groups[first].tolist()) & set(groups[second].tolist())
    assert len(groups[first].unique()) == 4
    assert len(groups[second].unique()) == 5
    other, _ = split_halves(groups, generator)
    assert other.tolist() != first.tolist()


def test_items_without_a_group_are_halved(generator):
    first, second = split_halves(torch.arange(N), generator)
    assert len(first) == len(second) == N // 2


def test_one_group_cannot_be_halved(generator):
    with pytest.raises(NumericsError, match="1 group"):
        split_halves(torch.zeros(5, dtype=torch.int64), generator)


def test_jaccard_counts_what_is_shared():
    assert jaccard(torch.tensor([1, 2, 3]), torch.tensor([3, 2, 9])) == 0.5
    assert jaccard(torch.tensor([1]), torch.tensor([1])) == 1
    assert jaccard(torch.tensor([1]), torch.tensor([2])) == 0
    with pytest.raises(NumericsError):
        jaccard(torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64))


def test_cosine_and_spread():
    assert cosine(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 0.0])) == 1
    assert cosine(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])) == 0
    with pytest.raises(NumericsError):
        cosine(torch.zeros(2), torch.ones(2))
    assert asdict(spread_of([1.0, 2.0, 6.0])) == {"mean": 3.0, "least": 1.0, "most": 6.0}
    with pytest.raises(NumericsError):
        spread_of([])


def fitted(positive, negative, generator):
    W_dec = torch.eye(D_SAE)
    return fit_recipe(
        positive,
        negative,
        W_dec=W_dec,
        direction=W_dec[0],
        eligible=torch.ones(D_SAE, dtype=torch.bool),
        n_atoms=N_PLANTED,
        n_resamples=10,
        generator=generator,
    )


def written(recipe):
    """What a recipe writes over an orthonormal dictionary."""
    return torch.zeros(D_SAE).index_add_(0, recipe.feature_ids, recipe.coefficients)


@pytest.mark.parametrize("planted", [True, False])
def test_a_planted_recipe_comes_out_of_either_half_and_noise_does_not(generator, planted):
    """Nouns fire features of their own; the behaviour fires the same few on all of them."""
    nouns = torch.arange(N) % 16
    sides = [torch.rand(N, D_SAE, generator=generator) * 0.3 for _ in range(2)]
    for noun in range(16):
        sides[0][nouns == noun, 20 + noun] += 1.0
    sides[0][:, :N_PLANTED] += 2.0
    if not planted:  # the same rows, under shuffled labels
        rows = torch.cat(sides)[torch.randperm(2 * N, generator=generator)]
        sides = [rows[:N], rows[N:]]
    found = []
    for _ in range(8):
        halves = split_halves(nouns, generator)
        first, second = (fitted(sides[0][h], sides[1][h], generator) for h in halves)
        alike = cosine(*(written(recipe) for recipe in (first, second)))
        found.append((jaccard(first.feature_ids, second.feature_ids), alike))
    if planted:
        assert min(shared for shared, _ in found) == 1
        assert min(alike for _, alike in found) > 0.95
    else:  # features that vary most are chosen by chance too, but with any sign
        assert sum(alike for _, alike in found) / 8 < 0.5
