"""Best partners are those of the whole matrix, in any batching and on any number of threads."""

import numpy as np
import pytest
import scipy.sparse
import torch
from planted import correlations

from conceptbasis.core.features import partners as module
from conceptbasis.core.features import partners_dense as dense
from conceptbasis.core.features.matching import mutual_pairs
from conceptbasis.core.features.partners import (
    CodePair,
    best_partners,
    feature_stats,
    pair_correlations,
)
from conceptbasis.errors import NumericsError


def zipf_codes(rng, n, d, active=6):
    """Firing that falls like a power of the rank, as in real dictionaries."""
    weights = 1 / np.arange(1, d + 1) ** 0.8
    ids = rng.choice(d, (n, active), p=weights / weights.sum()).ravel()
    data = rng.exponential(size=n * active).astype(np.float32)
    codes = scipy.sparse.csr_matrix((data, ids, np.arange(0, n * active + 1, active)), (n, d))
    codes.sum_duplicates()
    return codes


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def pair(rng):
    donor, target = zipf_codes(rng, 900, 150), zipf_codes(rng, 900, 130)
    shared = donor[:, :40].multiply(rng.random((900, 40)) < 0.7)
    target = scipy.sparse.csr_matrix(target + scipy.sparse.hstack([shared, np.zeros((900, 90))]))
    return donor, scipy.sparse.csr_matrix(target.astype(np.float32))


def search(pair, k, cuts=(), **options):
    rows = np.array_split(np.arange(pair[0].shape[0]), cuts)
    batches = [CodePair(pair[0][some], pair[1][some]) for some in rows]
    return best_partners(batches, *feature_stats(batches), k=k, **options)


def check(ids, r, matrix, k):
    """The lists against the k largest positive entries of each row of the whole matrix."""
    for i, row in enumerate(matrix):
        best = row.clamp(min=0).topk(k).values
        torch.testing.assert_close(r[i], best, atol=1e-9, rtol=0)
        there = ids[i] >= 0
        assert torch.equal(there, r[i] > 0)
        torch.testing.assert_close(row[ids[i][there]], best[there], atol=1e-9, rtol=0)


@pytest.mark.parametrize("cuts", [(), (1, 77, 400)])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("k", [1, 8])
def test_partners_are_those_of_the_whole_matrix(pair, cuts, n_threads, k, monkeypatch):
    monkeypatch.setattr(module, "_MEMORY", 8 * 130 * 2 * 7)  # seven rows of sums at a time
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    found, matrix = search(pair, k, cuts), correlations(*pair)
    check(found.donor_ids, found.donor_r, matrix, k)
    check(found.target_ids, found.target_r, matrix.T, k)
    assert float(found.donor_r.max()) > 0.5


@pytest.mark.parametrize("cuts", [(), (1, 77, 400)])
def test_dense_blocks_find_the_same_partners(pair, rng, cuts, monkeypatch):
    """As on an accelerator, here on the CPU: with ties, dead features and features left out."""
    monkeypatch.setattr(dense, "_BLOCK", 37)
    monkeypatch.setattr(dense, "_ROWS", 200)
    half = pair[0][:, :70].toarray()
    half[:, 3] = 0
    codes = (scipy.sparse.csr_matrix(np.hstack([half, half])), pair[1])
    live = {"donor_live": torch.arange(140) % 5 > 0, "target_live": torch.arange(130) % 7 > 0}
    expected = search(codes, 6, cuts, **live)
    monkeypatch.setattr(module, "dense_best_partners", _on_cpu)
    found = search(codes, 6, cuts, device="meta", **live)
    for name in ("donor_r", "target_r"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    same = (found.target_ids == expected.target_ids).double().mean()
    assert torch.equal(found.donor_ids >= 0, expected.donor_ids >= 0)
    assert float(same) > 0.95  # equal features may differ in the last bit, and so in order


def _on_cpu(*args, **options):
    return dense.dense_best_partners(*args, **{**options, "device": "cpu"})


def test_features_left_out_neither_have_nor_are_partners(pair):
    live, other = torch.arange(150) % 2 == 0, torch.arange(130) % 3 == 0
    found = search(pair, 5, donor_live=live, target_live=other)
    matrix = correlations(*pair) * live[:, None] * other[None, :]
    check(found.donor_ids, found.donor_r, matrix, 5)
    check(found.target_ids, found.target_r, matrix.T, 5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_mutual_pairs_equal_their_definition(pair, k):
    r = correlations(*pair)
    expected = [
        (i, j)
        for i, j in (r > 0).nonzero().tolist()
        if int((r[i] > r[i, j]).sum()) < k and int((r[:, j] > r[i, j]).sum()) < k
    ]
    donors, targets = mutual_pairs(search(pair, 8), k)
    assert list(zip(donors.tolist(), targets.tolist(), strict=True)) == expected


def test_equal_partners_are_ordered_by_id(rng, monkeypatch):
    column = (rng.random((300, 1)) < 0.3).astype(np.float32)
    codes = scipy.sparse.csr_matrix(np.repeat(column, 200, axis=1))
    for n_threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        found = search((codes, codes), 3)
        assert torch.equal(found.donor_ids, torch.tensor([0, 1, 2]).expand(200, 3))
        assert torch.equal(found.target_ids, torch.tensor([0, 1, 2]).expand(200, 3))


def test_pair_correlations_are_entries_of_the_matrix(pair):
    donors, targets = torch.tensor([0, 0, 3, 149]), torch.tensor([0, 129, 3, 5])
    matrix = correlations(*pair)
    stats = feature_stats([CodePair(*pair)])
    r = pair_correlations([CodePair(*pair)], *stats, donors, targets)
    torch.testing.assert_close(r, matrix[donors, targets], atol=1e-9, rtol=0)
    parts = [CodePair(pair[0][rows], pair[1][rows]) for rows in (slice(0, 10), slice(10, 900))]
    torch.testing.assert_close(pair_correlations(parts, *stats, donors, targets), r)


def test_shuffled_sites_have_no_strong_partners(pair, rng):
    shuffled = (pair[0], pair[1][rng.permutation(900)])
    assert float(search(shuffled, 1).donor_r[:40].median()) < 0.25
    assert float(search(pair, 1).donor_r[:40].median()) > 0.5


def test_dead_and_constant_features_have_no_partners(pair):
    dense = pair[0][:, :4].toarray()
    dense[:, 1], dense[:, 2] = 0, 0.1
    codes = scipy.sparse.csr_matrix(dense)
    stats, _ = feature_stats([CodePair(codes, codes)])
    assert stats.sd[1:3].tolist() == [0, 0]
    assert search((codes, codes), 2).donor_ids[1:3].tolist() == [[-1, -1], [-1, -1]]
    none = torch.zeros(1, dtype=torch.int64)
    assert float(pair_correlations([CodePair(codes, codes)], stats, stats, none + 1, none)) == 0


def test_statistics_equal_numpy_in_any_batching(pair):
    cuts = (slice(0, 1), slice(1, 500), slice(500, 900))
    stats, _ = feature_stats([CodePair(pair[0][rows], pair[1][rows]) for rows in cuts])
    dense = pair[0].toarray().astype(np.float64)
    np.testing.assert_allclose(stats.mean, dense.mean(0), atol=1e-12)
    np.testing.assert_allclose(stats.sd, dense.std(0), atol=1e-12)
    np.testing.assert_allclose(stats.density, (dense != 0).mean(0), atol=1e-12)
    assert (stats.n, stats.weight) == (900, 900)


def test_weighted_correlations_are_those_of_repeated_sites(pair, generator):
    counts = torch.randint(0, 4, (900,), generator=generator)
    weights = 0.3 * counts.double()
    batches = [
        CodePair(*(codes[part] for codes in pair), weights[part])
        for part in (slice(0, 250), slice(250, 900))
    ]
    stats = feature_stats(batches)
    found = best_partners(batches, *stats, k=4)
    rows = torch.arange(900).repeat_interleave(counts).numpy()
    repeated = correlations(pair[0][rows], pair[1][rows])
    check(found.donor_ids, found.donor_r, repeated, 4)
    check(found.target_ids, found.target_r, repeated.T, 4)
    donors, targets = torch.tensor([0, 3, 70]), torch.tensor([0, 3, 9])
    r = pair_correlations(batches, *stats, donors, targets)
    torch.testing.assert_close(r, repeated[donors, targets], atol=1e-9, rtol=0)
    plain, _ = feature_stats([CodePair(*pair)])
    assert torch.equal(stats[0].density, plain.density)
    assert not torch.allclose(found.donor_r, search(pair, 4).donor_r, atol=1e-2)


@pytest.mark.parametrize("weights", [torch.ones(3), -torch.ones(4), torch.full((4,), torch.nan)])
def test_weights_that_do_not_fit_are_refused(weights):
    codes = scipy.sparse.csr_matrix(np.ones((4, 2), dtype=np.float32))
    with pytest.raises(NumericsError):
        feature_stats([CodePair(codes, codes, weights)])


def test_explicit_zeros_are_not_activity():
    stored = scipy.sparse.csr_matrix(
        (np.array([0.0, 1.0], dtype=np.float32), np.array([0, 1]), np.array([0, 2, 2])), (2, 2)
    )
    assert feature_stats([CodePair(stored, stored)])[0].density.tolist() == [0, 0.5]


def test_what_does_not_belong_together_is_refused(pair):
    stats = feature_stats([CodePair(*pair)])
    with pytest.raises(NumericsError, match="k = 0"):
        best_partners([CodePair(*pair)], *stats, k=0)
    with pytest.raises(NumericsError, match="statistics of the same sites"):
        best_partners([CodePair(pair[0][:10], pair[1][:10])], *stats, k=1)
    with pytest.raises(NumericsError, match="codes has shape"):
        best_partners([CodePair(pair[0], pair[1][:10])], *stats, k=1)
    with pytest.raises(NumericsError, match="no sites"):
        feature_stats([])
    broken = pair[0].copy()
    broken.data[5] = np.nan
    with pytest.raises(NumericsError):
        feature_stats([CodePair(broken, pair[1])])
