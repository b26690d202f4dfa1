"""Correlations of sparse dictionaries without their matrix: each feature's best partners.

Only pairs that fire together at some site can correlate positively, so a row of the matrix is
made from the donor feature's sites, its best partners are kept, and the row is used again.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.core.kernels import add_products, dot_pairs, keep_best
from conceptbasis.core.partners_dense import dense_best_partners
from conceptbasis.core.sites import require_shape
from conceptbasis.core.stats import variance
from conceptbasis.errors import NumericsError

# Rows of sums that stay in the cache of a core, for codes that come in one batch.
_CACHE = 2**18
# Memory for rows of sums, for codes that come in several: each batch is read once per set of rows.
_MEMORY = 2**29

Codes: TypeAlias = scipy.sparse.csr_matrix
Batches: TypeAlias = Sequence[tuple[Codes, Codes]]
"""Donor and target codes at the same sites, in batches that can be read several times."""


@dataclass(frozen=True)
class FeatureStats:
    """Each feature's statistics over n sites; density is the share at which it is not zero."""

    n: int
    density: Float[Tensor, " d"]
    mean: Float[Tensor, " d"]
    sd: Float[Tensor, " d"]


@dataclass(frozen=True)
class Partners:
    """The k best partners of every feature by falling correlation; −1 and 0 where there are fewer.

    A partner has a positive correlation. Of equal ones the feature of lower id comes first.
    """

    donor_ids: Int[Tensor, "d_donor k"]
    donor_r: Float[Tensor, "d_donor k"]
    target_ids: Int[Tensor, "d_target k"]
    target_r: Float[Tensor, "d_target k"]


def feature_stats(batches: Iterable[Codes]) -> FeatureStats:
    """Compute each feature's density, mean and standard deviation.

    Formula: share of z ≠ 0, E[z], √(E[z²] − E[z]²); sums in float64.

    Args:
        batches: Codes of one dictionary, one row per site.

    Returns:
        The statistics; a feature that does not vary has sd exactly 0.

    Raises:
        NumericsError: No site, unlike widths, or an entry that is not finite.
    """
    n, sums = 0, None
    for codes in batches:
        if sums is None:
            sums = np.zeros((3, codes.shape[1]))
        require_shape("codes", codes, sums.shape[1], codes.shape[0])
        values = codes.data.astype(np.float64)
        n += int(codes.shape[0])
        for place, weights in enumerate((values, values * values, values != 0)):
            sums[place] += np.bincount(codes.indices, weights, minlength=codes.shape[1])
    if sums is None or n == 0:
        raise NumericsError(
            "a correlation over no sites is not defined",
            expected="at least one batch with at least one site",
            fix="check that the text yields aligned sites",
        )
    mean, square, density = torch.from_numpy(sums / n)
    return FeatureStats(n, density, mean, variance(square, mean).sqrt())


def best_partners(
    batches: Batches,
    donor: FeatureStats,
    target: FeatureStats,
    *,
    k: int,
    donor_live: Bool[Tensor, " d_donor"] | None = None,
    target_live: Bool[Tensor, " d_target"] | None = None,
    device: str = "cpu",
) -> Partners:
    """Find the k best partners of every feature, exactly, in memory of d · k.

    Formula: r_ij = (E[z_i z'_j] − E[z_i] E[z'_j]) / (σ_i σ'_j), the k largest positive of each row
    and of each column. Time is that of the sparse product, Σ_s nnz(z_s) nnz(z'_s); torch's number
    of threads share the rows.

    Args:
        batches: Codes of both sides; several batches are read once for every 512 MiB of rows.
        donor: Statistics of the donor's features over the same sites.
        target: Statistics of the target's.
        k: How many partners each feature may name.
        donor_live: Donor features that may have and be partners; all when None.
        target_live: Target features that may.
        device: Where the search runs; elsewhere than on the CPU it multiplies dense blocks.

    Returns:
        The partners.

    Raises:
        NumericsError: k is below 1, or the batches do not belong to the statistics.

    Source: Gustavson 1978, row-wise sparse products; Lan et al. 2024 (2410.06981), section 3.
    """
    if k < 1:
        raise NumericsError(f"k = {k}", expected="k of at least 1", fix="raise k")
    _require_same_sites(batches, donor, target)
    scales = (_mean_and_scale(donor, donor_live), _mean_and_scale(target, target_live))
    if device != "cpu":
        blocks = (torch.from_numpy(side) for side in scales)
        ours, theirs = dense_best_partners(batches, donor.n, *blocks, k=k, device=device)
        return Partners(*ours, *theirs)
    d_donor, d_target = len(donor.mean), len(target.mean)
    held = [(z.tocsc(), other) for z, other in batches] if len(batches) == 1 else None
    n_threads = max(1, min(torch.get_num_threads(), d_donor // 64))
    donor_best = _empty(d_donor, k)

    def search(rows: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        own = _empty(d_target, k)
        target_best = (*own, np.zeros(d_target))
        size = (_CACHE if held is not None else _MEMORY // n_threads) // (8 * d_target)
        cross = np.zeros((max(1, min(size, rows[1] - rows[0])), d_target))
        for first in range(*rows, len(cross)):
            part = cross[: rows[1] - first]
            for z, other in held or ((a.tocsc(), b) for a, b in batches):
                add_products(*_arrays(z), *_arrays(other), first, part)
            keep_best(part, first, donor.n, *scales, donor_best, target_best)
        return own

    # More shares than threads: frequent features are not spread evenly.
    bounds = np.linspace(0, d_donor, (4 * n_threads if held else n_threads) + 1).astype(int)
    shares = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    if n_threads == 1:
        found = [search((0, d_donor))]
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            found = list(pool.map(search, shares))
    ids, r = _merged(found, k)
    return Partners(*(torch.from_numpy(a) for a in (*donor_best, ids, r)))


def pair_correlations(
    batches: Batches,
    donor: FeatureStats,
    target: FeatureStats,
    donors: Int[Tensor, " n_pairs"],
    targets: Int[Tensor, " n_pairs"],
) -> Float[Tensor, " n_pairs"]:
    """Compute the correlations of given pairs alone.

    Formula: as in `best_partners`.

    Args:
        batches: Codes of both sides, each read once.
        donor: Statistics of the donor's features over the same sites.
        target: Statistics of the target's.
        donors: Donor feature of each pair, ascending.
        targets: Target feature of each pair.

    Returns:
        One correlation per pair; 0 where a side does not vary.

    Raises:
        NumericsError: The batches do not belong to the statistics.
    """
    _require_same_sites(batches, donor, target)
    total = np.zeros(donors.numel())
    for z, other in batches:
        buffer = np.zeros(z.shape[0])
        columns = (_arrays(z.tocsc()), _arrays(other.tocsc()))
        dot_pairs(donors.numpy(), targets.numpy(), *columns, buffer, total)
    (mean, scale), (other_mean, other_scale) = (
        torch.from_numpy(_mean_and_scale(side, None)) for side in (donor, target)
    )
    r = torch.from_numpy(total / donor.n) - mean[donors] * other_mean[targets]
    return (r * scale[donors] * other_scale[targets]).clamp(-1, 1)


def _require_same_sites(batches: Batches, donor: FeatureStats, target: FeatureStats) -> None:
    for z, other in batches:
        require_shape("donor codes", z, len(donor.mean), other.shape[0])
        require_shape("target codes", other, len(target.mean), z.shape[0])
    n = sum(z.shape[0] for z, _ in batches)
    if not n == donor.n == target.n:
        raise NumericsError(
            f"codes at {n} sites with statistics of {donor.n} and {target.n}",
            expected="statistics of the same sites",
            fix="compute them with feature_stats on the same batches",
        )


def _mean_and_scale(side: FeatureStats, live: Tensor | None) -> np.ndarray:
    usable = side.sd > 0 if live is None else (side.sd > 0) & live
    scale = torch.where(usable, 1 / side.sd, torch.zeros_like(side.sd))
    return torch.stack([side.mean, scale]).numpy()


def _arrays(codes: Codes | scipy.sparse.csc_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Unsigned, so that the compiled loops do not ask each index whether it counts from the end.
    unsigned = np.uint32 if codes.indices.itemsize == 4 else np.uint64
    return codes.indptr, codes.indices.view(unsigned), codes.data


def _empty(d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((d, k), -1, dtype=np.int64), np.zeros((d, k))


def _merged(
    found: Sequence[tuple[np.ndarray, np.ndarray]], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of several lists of partners; the lists are by ascending donor features."""
    ids, r = (np.concatenate([part[i] for part in found], axis=1) for i in (0, 1))
    order = np.argsort(-r, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(r, order, 1)
