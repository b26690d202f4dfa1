"""Matching and SVCCA of a user's own matrices: planted pairs are found, unlike ones are not."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

import conceptbasis as cb
from conceptbasis.errors import NumericsError


def planted(n_sites=2000, d=64, n_pairs=32, seed=0):
    """Sparse codes of which the first latents of both sides are the same in another order."""
    random = np.random.default_rng(seed)
    a, b = (
        random.gamma(1.0, size=(n_sites, d)) * (random.random((n_sites, d)) < 0.1) for _ in "ab"
    )
    order = random.permutation(d)[:n_pairs]
    b[:, order] = a[:, :n_pairs] * 2 + 0.05 * b[:, order]
    return a, b, dict(enumerate(order.tolist()))


def found_in(pairs):
    return dict(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def test_planted_pairs_are_found_with_default_settings():
    a, b, truth = planted()
    pairs = cb.match(a, b)
    assert found_in(pairs) == truth
    assert (pairs.r_heldout > pairs.null).all()
    assert pairs.attrs["n_mutual_best"] == len(truth)
    assert sum(pairs.attrs["lost"].values()) == 64 - len(truth)


def test_unlike_dictionaries_have_no_pairs():
    a, _, _ = planted()
    _, b, _ = planted(seed=1)
    assert len(cb.match(a, b, r_min=0.0)) <= 2


def test_sparse_matrices_tensors_and_arrays_are_the_same():
    a, b, _ = planted()
    expected = cb.match(a, b)
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, torch.from_numpy):
        assert cb.match(kind(a), kind(b)).equals(expected)
    similar = cb.svcca(a, b)
    assert cb.svcca(*map(scipy.sparse.csr_matrix, (a, b))).score == pytest.approx(similar.score)


def test_a_null_that_is_too_small_warns():
    a, b, _ = planted()
    with pytest.warns(UserWarning, match="raise n_shifts"):
        cb.match(a, b, n_shifts=3)


def test_few_latents_that_are_rarely_alike_are_found_in_silence(recwarn):
    a, b, truth = planted(n_pairs=7)
    assert found_in(cb.match(a, b)) == truth
    assert not recwarn.list


def test_texts_are_not_cut():
    a, b, truth = planted()
    assert found_in(cb.match(a, b, groups=np.arange(2000) // 7)) == truth
    with pytest.raises(NumericsError, match="1 groups"):
        cb.match(a, b, groups=["one"] * 2000)


def test_svcca_stands_beside_its_null():
    random = np.random.default_rng(0)
    x, z = random.normal(size=(500, 6)), random.normal(size=(500, 5))
    turned = cb.svcca(x, x @ random.normal(size=(6, 6)), keep_variance=1.0)
    assert float(turned) == pytest.approx(1.0)
    assert turned.kept == (6, 6)
    unlike = cb.svcca(x, z)
    assert unlike.score < 0.3
    assert 0 < unlike.null < 0.3


@pytest.mark.parametrize("function", [cb.match, cb.svcca])
def test_matrices_that_do_not_fit_are_an_error(function):
    a, b, _ = planted(n_sites=100)
    with pytest.raises(NumericsError, match="sites on one side"):
        function(a, b[:-1])
    with pytest.raises(NumericsError, match="two dimensions"):
        function(a[None], b)
    a[3, 0] = np.nan
    with pytest.raises(NumericsError):
        function(a, b)


def test_too_few_sites_are_an_error():
    with pytest.raises(NumericsError, match="at least 40 sites"):
        cb.match(np.eye(30), np.eye(30))
