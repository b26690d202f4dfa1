"""Which donor layer stands for which target layer."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class LayerMap:
    """Pairs (target layer, donor layer), by target; targets without a partner are not edited.

    `score` is the sum of score − null − penalty over the pairs, and None for a map that was not
    chosen by score (a control).
    """

    pairs: tuple[tuple[int, int], ...]
    score: float | None
    unedited_targets: tuple[int, ...]


def monotone_path(
    scores: Float[Tensor, "n_target n_donor"],
    null: Float[Tensor, "n_target n_donor"],
    penalty: Float[Tensor, "n_target n_donor"],
) -> LayerMap:
    """Find the layer map of largest excess score in which donor layers never go backwards.

    Formula: max Σ_j g_{j,d(j)} over partial maps d with j < j' ⇒ d(j) ≤ d(j'), using only cells
    with g = s − n − p > 0. With T(j, i) the best total of targets ≤ j and donors ≤ i:
    T(j, i) = max(T(j−1, i), T(j, i−1), T(j−1, i) + g_ji).

    Args:
        scores: Score of each donor layer for each target layer; −inf where there is none.
        null: What the same score is by chance.
        penalty: What a cell must score above chance to count, such as a price of unlike depth,
            which decides between layers whose scores differ by less than their noise.

    Returns:
        The map; targets all of whose cells lie at or below null and penalty stay unedited.

    Raises:
        NumericsError: A cell is NaN or +inf.
    """
    gain = scores.to("cpu", torch.float64) - null.to("cpu", torch.float64)
    gain = gain - penalty.to("cpu", torch.float64)
    if bool((gain.isnan() | (gain == torch.inf)).any()):
        raise NumericsError(
            "a layer score less its null and penalty is NaN or infinite",
            expected="finite scores, nulls and penalties, or −inf for a score that does not exist",
            fix="check the similarity of that pair of layers",
        )
    n_target, n_donor = gain.shape
    total = torch.zeros(n_target + 1, n_donor + 1, dtype=torch.float64)
    for j in range(n_target):
        for i in range(n_donor):
            chosen = total[j, i + 1] + gain[j, i].clamp(min=0)
            total[j + 1, i + 1] = torch.maximum(chosen, total[j + 1, i])
    pairs = _trace_pairs(gain, total)
    edited = {target for target, _ in pairs}
    unedited = tuple(j for j in range(n_target) if j not in edited)
    return LayerMap(pairs, float(total[-1, -1]), unedited)


def dynamic_time_warping(
    cost: Float[Tensor, "n_target n_donor"],
) -> tuple[tuple[tuple[int, int], ...], float]:
    """Find the cheapest monotone path that touches every row and every column.

    Formula: T(j, i) = c_ji + min(T(j−1, i−1), T(j−1, i), T(j, i−1)).

    Args:
        cost: Cost of each cell, for example a fingerprint distance.

    Returns:
        The path from the first to the last cell, and its total cost.

    Raises:
        NumericsError: A cost is not finite, or there is no cell.

    Source: Sakoe and Chiba 1978; used on layers by Cristofano 2026 (2601.16034).
    """
    require_finite("cost", cost)
    if cost.numel() == 0:
        raise NumericsError("no layers to warp", expected="a cell", fix="harvest some layers")
    n_target, n_donor = cost.shape
    total = torch.full((n_target + 1, n_donor + 1), torch.inf, dtype=torch.float64)
    total[0, 0] = 0
    for j in range(n_target):
        for i in range(n_donor):
            best = min(total[j, i], total[j, i + 1], total[j + 1, i])
            total[j + 1, i + 1] = cost[j, i].to(torch.float64) + best
    j, i = n_target, n_donor
    path = [(j - 1, i - 1)]
    while (j, i) != (1, 1):
        # Ties prefer the diagonal, which comes first.
        j, i = min(((j - 1, i - 1), (j - 1, i), (j, i - 1)), key=lambda cell: float(total[cell]))
        path.append((j - 1, i - 1))
    return tuple(reversed(path)), float(total[-1, -1])


def _trace_pairs(
    gain: Float[Tensor, "n_target n_donor"], total: Float[Tensor, "rows columns"]
) -> tuple[tuple[int, int], ...]:
    """Walk the table of best totals backwards to the cells that made it."""
    j, i = gain.shape
    pairs: list[tuple[int, int]] = []
    while j > 0 and i > 0:
        if total[j, i] == total[j, i - 1]:
            i -= 1
            continue
        if gain[j - 1, i - 1] > 0 and total[j, i] > total[j - 1, i]:
            pairs.append((j - 1, i - 1))
        j -= 1
    return tuple(reversed(pairs))


def depth_gaps(n_target: int, n_donor: int) -> Float[Tensor, "n_target n_donor"]:
    """How far apart two layers are in relative depth, 0 (same depth) to 1 (first and last).

    Args:
        n_target: Layers of the target.
        n_donor: Layers of the donor.
    """
    target, donor = (
        torch.arange(n, dtype=torch.float64) / max(1, n - 1) for n in (n_target, n_donor)
    )
    return (target[:, None] - donor[None]).abs()
