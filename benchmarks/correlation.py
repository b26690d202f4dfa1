"""Best partners of features: ours, scipy's sparse product, the dense product of the same codes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from benchmarks.case import measured
from benchmarks.codes import N_SITES, pair, zipf_codes
from conceptbasis.core.features.matching import shift_null
from conceptbasis.core.features.partners import CodePair, best_partners, feature_stats

K = 8
_BLOCK = (512, 2048)
"""Donor and target features of the part of the dense product that is measured."""


def _search(batches: Sequence[CodePair], k: int = K) -> Any:
    return best_partners(batches, *feature_stats(batches), k=k)


def _warm_up() -> None:
    small = pair(200, 64, 4)
    _search([CodePair(*small)])
    shift_null(*small, n_shifts=1, min_shift=10, generator=torch.Generator().manual_seed(0))


def ours(d: int, n: int = N_SITES) -> dict[str, Any]:
    """Statistics and the best eight partners of every feature of both sides."""
    _warm_up()
    codes = CodePair(*pair(n, d))
    return measured(lambda: _search([codes]))


def null(d: int, n: int = N_SITES) -> dict[str, Any]:
    """The null of three circular shifts on a third of the sites, as a run has them."""
    _warm_up()
    donor, target = (z[: n // 3] for z in pair(n, d))
    generator = torch.Generator().manual_seed(0)
    return measured(
        lambda: shift_null(donor, target, n_shifts=3, min_shift=1000, generator=generator)
    )


def sparse_product(d: int, n: int = N_SITES) -> dict[str, Any]:
    """scipy's sparse product alone, without correlations or partners."""
    donor, target = pair(n, d)
    return measured(lambda: donor.T.tocsr() @ target)


def dense_product(d: int, n: int = N_SITES) -> dict[str, Any]:
    """The float32 product of standardised codes, a block of it, scaled to the whole."""
    donor, target = pair(n, d)
    sides = []
    for z, width in zip((donor, target), _BLOCK, strict=True):
        x = torch.from_numpy(z[:, :width].toarray())
        sides.append((x - x.mean(0)) / x.std(0).clamp(min=1e-6))
    a, b = sides
    found = measured(lambda: a.T @ b / n)
    share = _BLOCK[0] * _BLOCK[1] / d**2
    return {**found, "seconds": found["seconds"] / share, "megabytes": None}


def oracle(d: int, n: int = N_SITES) -> dict[str, Any]:
    """How many of 256 donor features have the best partner of a float64 product, where the margin
    over the second best exceeds 1e-6."""
    donor, target = pair(n, d)
    found = _search([CodePair(donor, target)])
    ids = np.random.default_rng(0).choice(d, 256, replace=False)
    z, other = donor[:, ids].astype(np.float64), target.astype(np.float64)
    product = (z.T @ other).toarray() / n
    means = [np.asarray(side.mean(0)).ravel() for side in (z, other)]
    squares = [np.asarray(side.multiply(side).mean(0)).ravel() for side in (z, other)]
    sd = [np.sqrt(s - m * m) for s, m in zip(squares, means, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.nan_to_num((product - np.outer(*means)) / np.outer(*sd))
    two = np.partition(r, -2, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > 1e-6
    same = found.donor_ids[ids, 0].numpy() == r.argmax(1)
    return {"clear": int(clear.sum()), "same": int((same & clear).sum())}


class _OnDisk(Sequence[CodePair]):
    """Batches of codes in files, so that memory holds one at a time."""

    def __init__(self, folder: Path, n_batches: int) -> None:
        self.folder, self.n_batches = folder, n_batches

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, place: Any) -> Any:
        if not 0 <= place < self.n_batches:
            raise IndexError(place)
        sides = (scipy.sparse.load_npz(self.folder / f"{place}_{side}.npz") for side in (0, 1))
        return CodePair(*sides)

    def __iter__(self) -> Iterator[CodePair]:
        return (self[i] for i in range(self.n_batches))


def streamed(d: int, n_batches: int) -> dict[str, Any]:
    """Batches of 50,000 sites from files."""
    _warm_up()
    with tempfile.TemporaryDirectory() as name:
        for place in range(n_batches):
            for side in (0, 1):
                z = zipf_codes(50_000, d, 2 * place + side)
                scipy.sparse.save_npz(Path(name) / f"{place}_{side}.npz", z, compressed=False)
        batches = _OnDisk(Path(name), n_batches)

        return measured(lambda: _search(batches))
