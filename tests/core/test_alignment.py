import itertools

import pytest
import torch

from conceptbasis.core.layers.alignment import (
    depth_gaps,
    dynamic_time_warping,
    monotone_path,
)
from conceptbasis.errors import NumericsError


def brute_force_map(gain):
    """Best total over all monotone partial maps with positive cells only."""
    n_target, n_donor = gain.shape
    best = 0.0
    for choice in itertools.product(range(-1, n_donor), repeat=n_target):
        chosen = [donor for donor in choice if donor >= 0]
        cells = [float(gain[j, i]) for j, i in enumerate(choice) if i >= 0]
        if chosen == sorted(chosen) and all(cell > 0 for cell in cells):
            best = max(best, sum(cells))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_monotone_path_equals_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    n_target, n_donor = (int(torch.randint(1, 6, (1,), generator=generator)) for _ in range(2))
    scores = torch.rand(n_target, n_donor, generator=generator)
    null = torch.rand(n_target, n_donor, generator=generator)
    penalty = 0.2 * torch.rand(n_target, n_donor, generator=generator)
    found = monotone_path(scores, null, penalty)
    gain = scores.double() - null.double() - penalty.double()
    assert found.score == pytest.approx(brute_force_map(gain), abs=1e-9)
    assert found.score == pytest.approx(sum(float(gain[pair]) for pair in found.pairs), abs=1e-9)
    donors = [donor for _, donor in found.pairs]
    targets = [target for target, _ in found.pairs]
    assert donors == sorted(donors)
    assert all(gain[pair] > 0 for pair in found.pairs)
    assert sorted(targets + list(found.unedited_targets)) == list(range(n_target))


def test_greedy_choice_would_not_be_monotone():
    scores = torch.tensor([[0.1, 0.9], [0.95, 0.2]])
    found = monotone_path(scores, torch.zeros(2, 2), torch.zeros(2, 2))
    assert found.pairs == ((0, 1), (1, 1))
    assert [int(row.argmax()) for row in scores] == [1, 0]


def test_layers_below_the_null_are_not_edited():
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.1, 0.9]])
    null = torch.full((3, 2), 0.3)
    found = monotone_path(scores, null, torch.zeros(3, 2))
    assert found.pairs == ((0, 0), (2, 1))
    assert found.unedited_targets == (1,)
    assert monotone_path(scores, torch.zeros(3, 2), torch.zeros(3, 2)).unedited_targets == ()


def test_a_price_of_unlike_depth_decides_between_scores_that_differ_by_noise_only():
    scores = torch.full((5, 5), 0.5)
    noise = 0.04 * torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) - 0.02
    diagonal = tuple((j, j) for j in range(5))
    null, gaps = torch.zeros(5, 5), depth_gaps(5, 5)
    assert monotone_path(scores + noise, null, 0.7 * gaps).pairs == diagonal
    assert monotone_path(scores + noise, null, 0 * gaps).pairs != diagonal
    # A layer that is plainly more alike is taken all the same.
    scores[2, 3] += 0.3
    assert (2, 3) in monotone_path(scores + noise, null, 0.7 * gaps).pairs


def test_two_targets_may_share_a_donor_and_missing_cells_are_skipped():
    scores = torch.tensor([[0.5], [0.5], [-torch.inf]])
    found = monotone_path(scores, torch.zeros(3, 1), torch.zeros(3, 1))
    assert found.pairs == ((0, 0), (1, 0))
    assert found.unedited_targets == (2,)
    with pytest.raises(NumericsError):
        monotone_path(torch.tensor([[torch.nan]]), torch.zeros(1, 1), torch.zeros(1, 1))


def brute_force_warp(cost, j=0, i=0):
    here = float(cost[j, i])
    steps = [(j + 1, i + 1), (j + 1, i), (j, i + 1)]
    inside = [step for step in steps if step[0] < cost.shape[0] and step[1] < cost.shape[1]]
    return here + min((brute_force_warp(cost, *step) for step in inside), default=0.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 5), (6, 6), (6, 2)])
def test_warping_equals_brute_force(shape, generator):
    cost = torch.rand(*shape, generator=generator, dtype=torch.float64)
    path, total = dynamic_time_warping(cost)
    assert total == pytest.approx(brute_force_warp(cost))
    assert total == pytest.approx(sum(float(cost[cell]) for cell in path))
    assert path[0] == (0, 0)
    assert path[-1] == (shape[0] - 1, shape[1] - 1)
    steps = {(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(path)}
    assert steps <= {(1, 1), (1, 0), (0, 1)}


def test_warping_follows_the_diagonal_of_equal_layers_and_not_a_shuffle(generator):
    layers = torch.arange(6.0)
    cost = (layers[:, None] - layers[None, :]).abs()
    path, total = dynamic_time_warping(cost)
    assert path == tuple((j, j) for j in range(6))
    assert total == 0
    assert dynamic_time_warping(cost[torch.tensor([3, 0, 5, 1, 4, 2])])[1] > 0
