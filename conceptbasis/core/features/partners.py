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

from conceptbasis.core.features.kernels import add_products, dot_pairs, keep_best
from conceptbasis.core.features.partners_dense import dense_best_partners
from conceptbasis.core.statistics.batches import require_shape
from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.core.statistics.moments import variance
from conceptbasis.errors import NumericsError

# Rows of sums that stay in the cache of a core, for codes that come in one batch.
_CACHE = 2**18
# Memory for rows of sums, for codes that come in several: each batch is read once per set of rows.
_MEMORY = 2**29

Codes: TypeAlias = scipy.sparse.csr_matrix


@dataclass(frozen=True)
class CodePair:
    """Codes of both sides at the same sites, and what each site counts; 1 by default."""

    donor: Codes
    target: Codes
    weights: Float[Tensor, " n_sites"] | None = None

    @property
    def n(self) -> int:
        """Number of sites."""
        return int(self.donor.shape[0])

    def site_weights(self) -> np.ndarray:
        """The weights in float64.

        Raises:
            NumericsError: Not one finite weight a site, or a negative one.
        """
        if self.weights is None:
            return np.ones(self.n)
        if self.weights.shape != (self.n,) or bool((self.weights < 0).any()):
            raise NumericsError(
                f"weights of shape {tuple(self.weights.shape)} for {self.n} sites",
                expected="one weight a site, none negative",
                fix="weigh the sites of this batch",
            )
        require_finite("weights", self.weights)
        return self.weights.to(torch.float64).numpy()

    def weighted_donor(self) -> scipy.sparse.csc_matrix:
        """Donor codes times what their site counts, by feature."""
        if self.weights is None:
            return self.donor.tocsc()
        each = np.repeat(self.site_weights(), np.diff(self.donor.indptr))
        arrays = (self.donor.data * each, self.donor.indices, self.donor.indptr)
        return scipy.sparse.csr_matrix(arrays, self.donor.shape).tocsc()


Batches: TypeAlias = Sequence[CodePair]
"""Batches of sites that can be read several times."""


@dataclass(frozen=True)
class FeatureStats:
    """Each feature's statistics over n sites of a total weight.

    Density is the share of sites at which a feature is not zero, whatever they weigh.
    """

    n: int
    weight: float
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


def feature_stats(batches: Iterable[CodePair]) -> tuple[FeatureStats, FeatureStats]:
    """Compute each feature's density, mean and standard deviation, for donor and target.

    Formula: share of z ≠ 0, E_w[z], √(E_w[z²] − E_w[z]²); sums in float64.

    Args:
        batches: Codes, each batch read once.

    Returns:
        The statistics of both sides; a feature that does not vary has sd exactly 0.

    Raises:
        NumericsError: No site that counts, shapes that do not fit, or an entry not finite.
    """
    n, weight = 0, 0.0
    sums: list[np.ndarray] = []
    for batch in batches:
        w = batch.site_weights()
        sides = (batch.donor, batch.target)
        sums = sums or [np.zeros((3, side.shape[1])) for side in sides]
        for codes, total in zip(sides, sums, strict=True):
            require_shape("codes", codes, total.shape[1], batch.n)
            total += _moments(codes, w)
        n, weight = n + batch.n, weight + float(w.sum())
    if weight == 0:
        raise NumericsError(
            "a correlation over no sites is not defined",
            expected="at least one batch with at least one site that counts",
            fix="check that the text yields aligned sites",
        )
    donor, target = (_stats(total, n, weight) for total in sums)
    return donor, target


def _moments(codes: Codes, w: np.ndarray) -> np.ndarray:
    """Σwz, Σwz², Σ1[z≠0] of each feature."""
    values, each = codes.data.astype(np.float64), np.repeat(w, np.diff(codes.indptr))
    rows = (each * values, each * values * values, values != 0)
    return np.stack([np.bincount(codes.indices, row, minlength=codes.shape[1]) for row in rows])


def _stats(sums: np.ndarray, n: int, weight: float) -> FeatureStats:
    mean, square, density = torch.from_numpy(sums / np.array([[weight], [weight], [n]]))
    return FeatureStats(n, weight, density, mean, variance(square, mean).sqrt())


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

    Formula: r_ij = (E_w[z_i z'_j] − E_w[z_i] E_w[z'_j]) / (σ_i σ'_j), the k largest positive of
    each row and of each column. Time is that of the sparse product, Σ_s nnz(z_s) nnz(z'_s);
    torch's number of threads share the rows.

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
        pairs = [(b.weighted_donor().tocsr(), b.target) for b in batches]
        ours, theirs = dense_best_partners(pairs, donor.weight, *blocks, k=k, device=device)
        return Partners(*ours, *theirs)
    d_donor, d_target = len(donor.mean), len(target.mean)
    held = [(b.weighted_donor(), b.target) for b in batches] if len(batches) == 1 else None
    n_threads = max(1, min(torch.get_num_threads(), d_donor // 64))
    donor_best = _empty(d_donor, k)

    def search(rows: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        own = _empty(d_target, k)
        target_best = (*own, np.zeros(d_target))
        size = (_CACHE if held is not None else _MEMORY // n_threads) // (8 * d_target)
        cross = np.zeros((max(1, min(size, rows[1] - rows[0])), d_target))
        for first in range(*rows, len(cross)):
            part = cross[: rows[1] - first]
            for z, other in held or ((b.weighted_donor(), b.target) for b in batches):
                add_products(*_arrays(z), *_arrays(other), first, part)
            keep_best(part, first, donor.weight, *scales, donor_best, target_best)
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
    for batch in batches:
        buffer = np.zeros(batch.n)
        columns = (_arrays(batch.weighted_donor()), _arrays(batch.target.tocsc()))
        dot_pairs(donors.numpy(), targets.numpy(), *columns, buffer, total)
    (mean, scale), (other_mean, other_scale) = (
        torch.from_numpy(_mean_and_scale(side, None)) for side in (donor, target)
    )
    r = torch.from_numpy(total / donor.weight) - mean[donors] * other_mean[targets]
    return (r * scale[donors] * other_scale[targets]).clamp(-1, 1)


def _require_same_sites(batches: Batches, donor: FeatureStats, target: FeatureStats) -> None:
    for batch in batches:
        require_shape("donor codes", batch.donor, len(donor.mean), batch.n)
        require_shape("target codes", batch.target, len(target.mean), batch.n)
    n = sum(batch.n for batch in batches)
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
