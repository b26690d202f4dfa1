"""Matching and SVCCA of matrices that a user already has, each beside its null."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptbasis.api.frames import frame
from conceptbasis.core.features.matching import eligible_pairs, shift_null
from conceptbasis.core.features.partners import CodePair
from conceptbasis.core.features.significance import DENSITY_BINS
from conceptbasis.core.layers.svcca import svcca as core_svcca
from conceptbasis.core.layers.svcca import svcca_null
from conceptbasis.errors import NumericsError

if TYPE_CHECKING:
    from pandas import DataFrame

_BLOCKS = 20
"""Blocks of consecutive sites; every other one is held out."""
_WANTED_SHARE = 0.1
"""The null is made large enough to find pairs where this share of latents has a partner."""
_MOST_SHIFTS = 200


def match(
    A: Any,
    B: Any,
    *,
    groups: Sequence[Any] | None = None,
    r_min: float = 0.5,
    fdr: float = 0.05,
    top_k: int = 10,
    one_to_one: bool = False,
    min_density: float = 1e-4,
    n_shifts: int | None = None,
    seed: int = 0,
) -> DataFrame:
    """Matches latents of two dictionaries by what they do at the same sites.

    Half of the sites choose pairs, in which each latent is among the other's best; the other half
    judges them against shifted sites, with a false discovery rate. Only positive correlations
    count.

    Args:
        A: Activations, n_sites × d_a, sites in text order: an array, a tensor or a SciPy matrix.
        B: The same sites, n_sites × d_b.
        groups: The text of each site, so that no text is cut in two halves; blocks of consecutive
            sites by default.
        r_min: Least held-out correlation.
        fdr: False discovery rate over latents of A.
        top_k: How many partners each latent may name.
        one_to_one: Whether each latent may have one partner only.
        min_density: Latents that are active at a smaller share of sites are left out.
        n_shifts: Shifts of the null; by default as many as it takes to find pairs where a tenth
            of the latents has one.
        seed: Of the shifts.

    Returns:
        One row per pair: `a`, `b`, correlations `r_fit` and `r_heldout`, the 95 % quantile of the
        `null` of latent a (its best correlation with anything at shifted sites), and `p`. Its
        `attrs` say what became of the others: `lost` counts latents of A by the first test they
        failed, `n_mutual_best` and `n_one_to_one` count pairs, `least_p` is the least p that the
        null can give.

    Warns:
        UserWarning: if the null is too small to find pairs that are rare.

    Raises:
        NumericsError: if the matrices do not fit, are not finite, or have too few sites.

    Example:
        >>> A = np.random.default_rng(0).random((400, 30)) ** 8
        >>> B = A[:, ::-1] + 0.01
        >>> pairs = cb.match(A, B)
        >>> bool((pairs.a + pairs.b == 29).all()), len(pairs)
        (True, 30)
    """
    a, b = _sparse(A), _sparse(B)
    held_out = _held_out(a, b, groups)
    fit, judged = (CodePair(a[rows], b[rows]) for rows in (~held_out, held_out))
    live = int(((fit.donor != 0).mean(0) >= min_density).sum())
    pool = max(1, live // DENSITY_BINS)
    if n_shifts is None:
        n_shifts = math.ceil((1 / (fdr * _WANTED_SHARE) - 1) / pool)
        n_shifts = min(max(3, n_shifts), _MOST_SHIFTS)
    least = 1 / (1 + n_shifts * pool)
    _warn_if_blind(least, fdr, n_shifts)
    null = shift_null(
        judged.donor,
        judged.target,
        n_shifts=n_shifts,
        min_shift=max(1, judged.n // _BLOCKS),
        generator=torch.Generator().manual_seed(seed),
    )
    options = {"k": top_k, "r_min": r_min, "fdr": fdr, "min_density": min_density}
    found = eligible_pairs([fit], [judged], null, **options)  # type: ignore[arg-type]
    found = found.assigned() if one_to_one else found
    columns = [found.donor_ids, found.target_ids, found.r_fit, found.r_heldout]
    columns += [found.null_quantile, found.p_value]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    table = frame("a b r_fit r_heldout null p", rows)
    table.attrs = {
        "lost": dict(found.reasons),
        "n_mutual_best": found.n_mutual_best,
        "n_one_to_one": found.n_one_to_one,
        "least_p": least,
    }
    return table


def _warn_if_blind(least: float, fdr: float, n_shifts: int) -> None:
    needed = least / fdr
    if needed > _WANTED_SHARE * 1.01:
        found = "nothing can be found" if needed > 1 else "rare pairs cannot be found"
        warnings.warn(
            f"with n_shifts={n_shifts} the null gives no p below {least:.2g}, so {found}: at a "
            f"false discovery rate of {fdr:g} it takes a partner for {needed:.0%} of the latents; "
            "raise n_shifts",
            stacklevel=3,
        )


@dataclass(frozen=True)
class Similarity:
    """An SVCCA score beside its null.

    Args:
        score: Mean canonical correlation, 0 to 1.
        null: 95 % quantile of the score when sites are paired at random.
        kept: Dimensions that were kept of both sides.
        n_null: Random pairings behind the null.
    """

    score: float
    null: float
    kept: tuple[int, int]
    n_null: int

    def __float__(self) -> float:
        return self.score


def svcca(
    A: Any, B: Any, *, keep_variance: float = 0.99, n_null: int = 20, seed: int = 0
) -> Similarity:
    """How alike two spaces are at the same sites (Raghu et al. 2017).

    Memory is that of both matrices in float64, without columns that are 0 throughout.

    Args:
        A: Activations, n_sites × d_a: an array, a tensor or a SciPy matrix.
        B: The same sites, n_sites × d_b.
        keep_variance: Share of each side's variance that is kept.
        n_null: Random pairings of the sites.
        seed: Of the pairings.

    Returns:
        The score and its null; `float()` of it is the score.

    Raises:
        NumericsError: if the matrices do not fit or are not finite.

    Example:
        >>> A = np.random.default_rng(0).normal(size=(400, 8))
        >>> found = cb.svcca(A, A @ np.diag(range(1, 9)))
        >>> round(found.score, 3), found.null < 0.5
        (1.0, True)
    """
    x, y = (_dense(side) for side in (A, B))
    if len(x) != len(y):
        raise _unlike(len(x), len(y))
    found = core_svcca(x, y, keep_variance=keep_variance)
    generator = torch.Generator().manual_seed(seed)
    null = svcca_null(x, y, n_draws=n_null, generator=generator, keep_variance=keep_variance)
    return Similarity(found.score, float(null.quantile(0.95)), (found.k_x, found.k_y), n_null)


def _held_out(
    a: scipy.sparse.csr_matrix, b: scipy.sparse.csr_matrix, groups: Sequence[Any] | None
) -> Bool[np.ndarray, " n_sites"]:
    """Every other text, or every other block of consecutive sites."""
    n = a.shape[0]
    if b.shape[0] != n:
        raise _unlike(n, b.shape[0])
    blocks = np.arange(n) * _BLOCKS // max(n, 1)
    if groups is not None:
        if len(groups) != n:
            raise _unlike(n, len(groups))
        first: dict[Any, int] = {}
        blocks = np.array([first.setdefault(group, len(first)) for group in groups])
    if n < 2 * _BLOCKS or len(np.unique(blocks)) < 2:
        raise NumericsError(
            f"{n} sites in {len(np.unique(blocks))} groups",
            expected=f"at least {2 * _BLOCKS} sites of at least two groups",
            fix="give activations at more sites",
        )
    return blocks % 2 == 1


def _unlike(n: int, other: int) -> NumericsError:
    return NumericsError(
        f"{n} sites on one side and {other} on the other",
        expected="one row per site on both sides",
        fix="give activations at the same sites, one row each",
    )


def _matrix(side: Any) -> Any:
    """A two-dimensional NumPy or SciPy matrix."""
    found = side.detach().cpu().float().numpy() if isinstance(side, Tensor) else side
    found = found if scipy.sparse.issparse(found) else np.asarray(found)
    if found.ndim != 2:
        raise NumericsError(
            f"an array of shape {found.shape}",
            expected="two dimensions: sites × latents",
            fix="flatten batches and positions into sites",
        )
    return found


def _sparse(side: Any) -> scipy.sparse.csr_matrix:
    found = scipy.sparse.csr_matrix(_matrix(side), dtype=np.float32)
    found.eliminate_zeros()
    return found


def _dense(side: Any) -> Float[Tensor, "n d"]:
    found = _matrix(side)
    if scipy.sparse.issparse(found):
        found = found.tocsc()
        found = found[:, np.flatnonzero(np.diff(found.indptr))].toarray()
    return torch.from_numpy(np.array(found, dtype=np.float64))
