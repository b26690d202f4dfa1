"""Loops over sparse codes that no array library offers, compiled by numba without the GIL."""

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _compile(function: Callable[..., None], fastmath: Any = False) -> Any:
    # Shape checks are put around every function in tests; numba needs the function itself.
    return numba.njit(nogil=True, cache=True, fastmath=fastmath)(inspect.unwrap(function))


def _add_products(
    starts: Any,
    sites: Any,
    values: Any,
    rows: Any,
    columns: Any,
    codes: Any,
    first: int,
    cross: Any,
) -> None:
    """Adds Σ_s z_si z'_sj of donor features i = first, first + 1, … to the rows of `cross`.

    Donor codes by feature (CSC), target codes by site (CSR).
    """
    for i in range(len(cross)):
        row = cross[i]
        for p in range(starts[first + i], starts[first + i + 1]):
            site, value = sites[p], np.float64(values[p])
            for q in range(rows[site], rows[site + 1]):
                row[columns[q]] += value * codes[q]


def _place(ids: Any, best: Any, feature: int, r: float) -> None:
    """Inserts a partner into a list sorted by falling r; of equals the first stays first."""
    place = len(best) - 1
    while place > 0 and best[place - 1] < r:
        best[place], ids[place] = best[place - 1], ids[place - 1]
        place -= 1
    best[place], ids[place] = r, feature


def _keep_best(
    cross: Any,
    first: int,
    weight: float,
    donor: Any,
    target: Any,
    donor_best: Any,
    target_best: Any,
) -> None:
    """Turns sums into correlations, keeps each side's best partners, and clears the sums.

    `donor` and `target` hold (mean, 1/sd) of each feature, 1/sd = 0 for those left out. A pair
    that never fires together has r ≤ 0 and is no partner.
    """
    donor_ids, donor_r = donor_best
    target_ids, target_r, target_least = target_best
    k = donor_r.shape[1]
    for place in range(len(cross)):
        i = first + place
        mean, scale = donor[0, i] * weight, donor[1, i] / weight
        least = donor_r[i, k - 1]
        row = cross[place]
        for j in range(len(row)):
            if row[j] != 0.0:
                r = (row[j] - mean * target[0, j]) * scale * target[1, j]
                row[j] = 0.0
                if r > least:
                    _place_compiled(donor_ids[i], donor_r[i], j, r)
                    least = donor_r[i, k - 1]
                if r > target_least[j]:
                    _place_compiled(target_ids[j], target_r[j], i, r)
                    target_least[j] = target_r[j, k - 1]


def _dot_pairs(
    donors: Any, targets: Any, donor_csc: Any, target_csc: Any, dense: Any, result: Any
) -> None:
    """Σ_s z_si z'_sj of given pairs, sorted by donor feature; `dense` holds one donor feature."""
    starts, sites, values = donor_csc
    other_starts, other_sites, other_values = target_csc
    p = 0
    while p < len(donors):
        i = donors[p]
        for q in range(starts[i], starts[i + 1]):
            dense[sites[q]] = values[q]
        while p < len(donors) and donors[p] == i:
            total = 0.0
            for q in range(other_starts[targets[p]], other_starts[targets[p] + 1]):
                total += dense[other_sites[q]] * other_values[q]
            result[p] += total
            p += 1
        for q in range(starts[i], starts[i + 1]):
            dense[sites[q]] = 0.0


def _decoder_gradients(
    features: Any,
    csc: Any,
    g: Any,
    x: Any,
    W_dec: Any,
    grad_W_dec: Any,
    grad_W_enc: Any,
    grad_b: Any,
) -> None:
    """Gradients behind out = codes @ W_dec at active codes, for features (first, last).

    With g the gradient of the output, row j of W_dec gets Σ_s z_sj g_s; the code z_sj gets
    g_s · W_dec_j, which goes on to row j of W_encᵀ times x_s and to the bias.
    """
    starts, sites, values = csc
    d = W_dec.shape[1]
    for j in range(features[0], features[1]):
        row, own, theirs = W_dec[j], grad_W_dec[j], grad_W_enc[j]
        for p in range(starts[j], starts[j + 1]):
            g_s, x_s, value = g[sites[p]], x[sites[p]], values[p]
            back = np.float32(0.0)
            for c in range(d):
                back += g_s[c] * row[c]
            for c in range(d):
                own[c] += value * g_s[c]
                theirs[c] += back * x_s[c]
            grad_b[j] += back


_place_compiled = _compile(_place)
add_products = _compile(_add_products)
keep_best = _compile(_keep_best)
dot_pairs = _compile(_dot_pairs)
# Sums may be reordered, which is what lets them run on vector units; NaN stays NaN.
decoder_gradients = _compile(_decoder_gradients, fastmath={"reassoc", "contract"})
