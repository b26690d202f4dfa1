"""Made-up codes of two dictionaries whose features fire like those of real ones."""

from __future__ import annotations

import numpy as np
import scipy.sparse

N_SITES, N_ACTIVE = 100_000, 64


def zipf_codes(n: int, d: int, seed: int, active: int = N_ACTIVE) -> scipy.sparse.csr_matrix:
    """Codes with `active` draws a site from features of frequency ∝ rank^(−0.8).

    Equal draws of a site fall together, so a few per cent fewer are active.

    Args:
        n: Sites.
        d: Features.
        seed: Of the draws.
        active: Draws a site.
    """
    rng = np.random.default_rng(seed)
    share = np.cumsum(1 / np.arange(1, d + 1) ** 0.8)
    ids = np.searchsorted(share / share[-1], rng.random((n, active))).clip(0, d - 1)
    ids = np.sort(rng.permutation(d)[ids], axis=1)
    kept = np.ones_like(ids, dtype=bool)
    kept[:, 1:] = ids[:, 1:] != ids[:, :-1]
    starts = np.concatenate([[0], np.cumsum(kept.sum(1))])
    values = (0.1 + rng.exponential(size=starts[-1])).astype(np.float32)
    return scipy.sparse.csr_matrix((values, ids[kept], starts), (n, d))


def pair(n: int, d: int, active: int = N_ACTIVE) -> tuple[scipy.sparse.csr_matrix, ...]:
    """Two dictionaries; half of each donor feature's firing is copied to one target feature.

    Args:
        n: Sites.
        d: Features of each side.
        active: Draws a site.
    """
    donor = zipf_codes(n, d, 0, active)
    rng = np.random.default_rng(2)
    shared = donor.copy()
    shared.data *= rng.random(donor.nnz) < 0.5
    shared.eliminate_zeros()
    own = zipf_codes(n, d, 1, max(1, active // 2))
    return donor, scipy.sparse.csr_matrix(own + shared)
