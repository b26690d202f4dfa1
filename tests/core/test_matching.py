import numpy as np
import pytest
import scipy.sparse
import torch
from planted import D_DONOR, N_TRUE, correlations, match, planted_world
from scipy.optimize import linear_sum_assignment
from scipy.stats import false_discovery_control

from conceptbasis.core.features.matching import (
    Matches,
    benjamini_hochberg,
    eligible_pairs,
    one_to_one,
    shift_null,
)
from conceptbasis.core.features.partners import CodePair
from conceptbasis.core.features.significance import (
    least_found,
    least_p,
    pooled_p,
    shifts_needed,
)
from conceptbasis.errors import NumericsError


@pytest.fixture(scope="module")
def world():
    return planted_world()


def every_pair(r):
    donors, targets = torch.cartesian_prod(*map(torch.arange, r.shape)).T
    return donors, targets, r.flatten()


def test_one_to_one_beats_greedy_and_drops_what_is_not_positive():
    r = torch.tensor([[0.9, 0.8], [0.8, 0.1], [-0.5, -0.6]])
    donors, targets = one_to_one(*every_pair(r))
    assert list(zip(donors.tolist(), targets.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert one_to_one(*every_pair(-r.abs()))[0].numel() == 0
    with pytest.raises(NumericsError):
        one_to_one(*every_pair(r / 0))


@pytest.mark.parametrize(("shape", "share"), [((30, 20), 0.1), ((20, 30), 0.1), ((25, 25), 0.6)])
def test_one_to_one_equals_the_dense_assignment(generator, shape, share):
    r = torch.rand(*shape, generator=generator) * (torch.rand(*shape, generator=generator) < share)
    rows, columns = linear_sum_assignment(r.numpy(), maximize=True)
    oracle = [(i, j) for i, j in zip(rows, columns, strict=True) if r[i, j] > 0]
    given = r.nonzero()
    order = torch.randperm(len(given), generator=generator)
    donors, targets = given[order].T
    found = one_to_one(donors, targets, r[donors, targets])
    assert list(zip(*(ids.tolist() for ids in found), strict=True)) == oracle
    assert len(oracle) < len(given)


def test_an_assignment_keeps_the_rows_of_its_pairs_and_counts_what_is_left_over():
    ids = (torch.tensor([0, 0, 1, 2]), torch.tensor([5, 7, 5, 9]))
    r = torch.tensor([0.9, 0.8, 0.8, 0.6])
    marks = [torch.arange(4.0) + k for k in (10, 20, 30)]
    whole = Matches(*ids, marks[0], r, marks[1], marks[2], {"null": 3}, 2, 3)
    kept = whole.assigned()
    assert kept.donor_ids.tolist() == [0, 1, 2]
    assert kept.target_ids.tolist() == [7, 5, 9]
    assert kept.r_fit.tolist() == [11, 12, 13]
    assert kept.reasons == {"null": 3, "not_assigned": 0}
    fewer = r[[0, 2, 3]]
    rivals = Matches(ids[0][1:], torch.tensor([5, 5, 9]), *[fewer] * 4, {}, 1, 2)
    assert rivals.assigned().donor_ids.tolist() == [0, 2]
    assert rivals.assigned().reasons == {"not_assigned": 1}
    none = Matches(*(x[:0] for x in (*ids, r, r, r, r)), {}, 0, 0)
    assert none.assigned().donor_ids.numel() == 0


def test_benjamini_hochberg_equals_scipy(generator):
    p = torch.cat([torch.rand(60, generator=generator), torch.rand(40, generator=generator) / 300])
    rejected = benjamini_hochberg(p, q=0.05)
    oracle = torch.from_numpy(false_discovery_control(p.double().numpy()) <= 0.05)
    assert torch.equal(rejected, oracle)
    assert 0 < int(rejected.sum()) < int((p <= 0.05).sum())
    assert not benjamini_hochberg(torch.ones(5), q=0.05).any()
    assert benjamini_hochberg(torch.zeros(0), q=0.05).numel() == 0


def test_shift_null_equals_numpy_under_the_same_shift(world):
    donor, target = world.donor_codes[:300], world.target_codes[:300]
    null = shift_null(
        donor, target, n_shifts=1, min_shift=150, generator=torch.Generator().manual_seed(0)
    )
    rolled = np.roll(target.toarray(), 150, axis=0)
    with np.errstate(invalid="ignore"):
        oracle = np.nan_to_num(np.corrcoef(donor.toarray().T, rolled.T))[:D_DONOR, D_DONOR:]
    np.testing.assert_allclose(null[0], oracle.max(1), atol=1e-5)


def test_shift_null_is_far_below_the_truth(world, generator):
    codes = (world.donor_codes, world.target_codes)
    null = shift_null(*codes, n_shifts=4, min_shift=100, generator=generator)
    true = correlations(*codes).amax(1)
    assert float(null.max()) < 0.15
    assert float(true[:N_TRUE].min()) > 0.9


def test_shift_null_keeps_the_autocorrelation_that_a_shuffle_destroys(generator):
    blocks = torch.randint(0, 2, (20, 12), generator=generator).repeat_interleave(50, 0)
    codes = scipy.sparse.csr_matrix(blocks.numpy().astype(np.float32))
    shifted = shift_null(codes, codes, n_shifts=10, min_shift=200, generator=generator)
    order = torch.randperm(1000, generator=generator).numpy()
    assert float(shifted.mean()) > 2 * float(correlations(codes, codes[order]).amax(1).mean())


def test_a_shift_that_does_not_exist_is_refused(world, generator):
    with pytest.raises(NumericsError):
        shift_null(
            world.donor_codes[:99], world.target_codes[:99], n_shifts=1, min_shift=50,
            generator=generator,
        )  # fmt: skip


def test_pooled_p_is_uniform_under_the_null_and_counts_ties(generator):
    null = torch.rand(20, 200, generator=generator)
    density, live = torch.rand(200, generator=generator), torch.ones(200, dtype=torch.bool)
    p = pooled_p(torch.rand(200, generator=generator), torch.arange(200), null, density, live)
    assert abs(float((p <= 0.1).double().mean()) - 0.1) < 0.07
    flat = pooled_p(torch.ones(200), torch.arange(200), torch.ones(20, 200), density, live)
    assert torch.equal(flat, torch.ones(200, dtype=torch.float64))
    top = pooled_p(2 * torch.ones(200), torch.arange(200), null, density, live)
    assert torch.allclose(top, torch.full((200,), 1 / 401, dtype=torch.float64))


def test_pools_are_of_similar_density(generator):
    density = torch.cat([torch.full((50,), 1e-3), torch.full((50,), 0.2)])
    null = torch.rand(10, 100, generator=generator) * torch.where(density < 0.1, 0.8, 0.1)
    r = torch.full((100,), 0.3)
    p = pooled_p(r, torch.arange(100), null, density, torch.ones(100, dtype=torch.bool))
    assert float(p[:50].min()) > 0.3
    assert float(p[50:].max()) < 0.02


def test_planted_pairs_are_found_and_no_others(world):
    matches = match(world, k=10)
    assert matches.donor_ids.tolist() == list(range(N_TRUE))
    assert torch.equal(matches.target_ids, world.partner)
    assert matches.n_mutual_best == matches.n_one_to_one == N_TRUE
    assert sum(matches.reasons.values()) == D_DONOR - N_TRUE
    assert matches.best_target(0) == int(world.partner[0])
    assert matches.best_target(D_DONOR - 1) is None
    assert torch.equal(matches.eligible_donor, torch.arange(N_TRUE))
    assert torch.equal(matches.eligible_target, world.partner.sort().values)
    assert float((matches.r_heldout - matches.null_quantile).min()) > 0.5


def test_shuffled_sites_leave_nothing(world):
    matches = match(world, shuffle=True)
    assert matches.donor_ids.numel() == 0
    assert matches.reasons["r_heldout"] + matches.reasons["not_mutual_top_k"] == D_DONOR


def test_the_null_holds_its_false_discovery_rate_without_a_threshold(world):
    assert match(world, shuffle=True, r_min=-1.0).eligible_donor.numel() <= 3
    assert match(world, r_min=-1.0).eligible_donor.numel() >= N_TRUE


def test_each_loss_is_counted_once_under_its_first_reason(world):
    donor, target = world.donor_codes.tolil(), world.target_codes
    donor[:, 0] = 0
    donor = scipy.sparse.csr_matrix(donor)
    fit = [CodePair(donor[:3000], target[:3000])]
    heldout = [CodePair(donor[3000:], target[3000:])]
    subset = torch.zeros(D_DONOR, dtype=torch.bool)
    subset[[0, 1, 2, D_DONOR - 1]] = True
    options = {"k": 1, "donor_subset": subset}
    kept = eligible_pairs(fit, heldout, torch.full((20, D_DONOR), 0.2), **options)
    assert kept.eligible_donor.tolist() == [1, 2]
    assert (kept.reasons["dead"], kept.reasons["null"]) == (1, 0)
    assert sum(kept.reasons.values()) == 2
    drowned = eligible_pairs(fit, heldout, torch.ones(20, D_DONOR), **options)
    assert drowned.reasons == {**kept.reasons, "null": 2}


def test_a_null_that_cannot_be_beaten_leaves_nothing(world):
    fit = [CodePair(world.donor_codes[:3000], world.target_codes[:3000])]
    impossible = eligible_pairs(fit, fit, torch.ones(5, D_DONOR))
    assert impossible.donor_ids.numel() == 0
    assert impossible.reasons["null"] >= N_TRUE
    possible = eligible_pairs(fit, fit, torch.zeros(20, D_DONOR))
    assert possible.eligible_donor.numel() == N_TRUE


def test_sizes_that_do_not_belong_together_are_refused(world):
    fit = [CodePair(world.donor_codes, world.target_codes)]
    with pytest.raises(NumericsError):
        eligible_pairs(fit, fit, torch.zeros(0, D_DONOR))


def test_the_least_p_is_what_the_pooled_null_gives_at_best(generator):
    for n_live, n_shifts in ((64, 3), (200, 20), (9, 4)):
        null, density = torch.rand(n_shifts, n_live, generator=generator), torch.rand(n_live)
        live, best = torch.ones(n_live, dtype=torch.bool), torch.full((n_live,), 2.0)
        p = pooled_p(best, torch.arange(n_live), null, density, live)
        assert float(p.max()) == pytest.approx(least_p(n_shifts, n_live))


@pytest.mark.parametrize(("n_live", "n_shifts"), [(64, 3), (64, 27), (768, 3), (300, 6), (40, 8)])
def test_as_many_matches_as_are_needed_are_found_and_one_less_are_not(n_live, n_shifts):
    least = least_found(n_shifts, n_live, fdr=0.05)
    p = torch.ones(n_live, dtype=torch.float64)
    p[: least - 1] = least_p(n_shifts, n_live)
    assert not benjamini_hochberg(p, q=0.05).any()
    if least <= n_live:
        p[:least] = least_p(n_shifts, n_live)
        assert int(benjamini_hochberg(p, q=0.05).sum()) == least


@pytest.mark.parametrize(("n_live", "needed"), [(5, 99), (64, 27), (400, 4), (768, 3), (16384, 3)])
def test_the_number_of_shifts_lets_an_eighth_of_the_latents_be_found(n_live, needed):
    assert shifts_needed(n_live, fdr=0.05) == needed
    assert least_found(needed, n_live, fdr=0.05) <= max(1, n_live / 8)
    assert needed == 3 or least_found(needed - 1, n_live, fdr=0.05) > max(1, n_live / 8)
