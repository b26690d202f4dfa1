"""How far sets overlap, against random sets of the same sizes in the same strata."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

import torch
from torch import Generator

from conceptbasis.core.statistics.interval import Interval

T = TypeVar("T", bound=Hashable)


def jaccard(a: AbstractSet[T], b: AbstractSet[T]) -> float:
    """|a ∩ b| / |a ∪ b|; 0 where both are empty."""
    return len(a & b) / len(a | b) if a or b else 0.0


def weighted_jaccard(a: Mapping[T, float], b: Mapping[T, float]) -> float:
    """Σ min(a, b) / Σ max(a, b) over all keys; 0 where both are empty.

    Source: Ruzicka 1958; Jaccard's index where all weights are 0 or 1.
    """
    keys = a.keys() | b.keys()
    largest = sum(max(a.get(k, 0.0), b.get(k, 0.0)) for k in keys)
    smallest = sum(min(a.get(k, 0.0), b.get(k, 0.0)) for k in keys)
    return smallest / largest if largest > 0 else 0.0


def draw_like(
    chosen: AbstractSet[T],
    pool: Sequence[T],
    stratum: Callable[[T], Hashable],
    *,
    generator: Generator,
) -> frozenset[T]:
    """Draw a random set that has as many members of each stratum as a given one.

    Args:
        chosen: The given set, a part of the pool.
        pool: All that may be drawn.
        stratum: What must stay the same.
        generator: The source of randomness.
    """
    wanted: dict[Hashable, int] = {}
    for member in chosen:
        wanted[stratum(member)] = wanted.get(stratum(member), 0) + 1
    order = torch.randperm(len(pool), generator=generator).tolist()
    found: list[T] = []
    for index in order:
        member = pool[index]
        if wanted.get(stratum(member), 0) > 0:
            wanted[stratum(member)] -= 1
            found.append(member)
    return frozenset(found)


def against(
    observed: float, drawn: Sequence[float], *, large: bool = True
) -> tuple[Interval, float]:
    """The mean of a figure over random draws with the range of 95 % of them, and a p value.

    Formula: p = (1 + #{draws at least as extreme}) / (1 + number of draws).

    Args:
        observed: The figure itself.
        drawn: Of at least one random draw.
        large: Whether large figures are extreme, else small ones.

    Source: Phipson and Smyth 2010, for the added ones.
    """
    values = torch.tensor(drawn, dtype=torch.float64)
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    extreme = sum((v >= observed if large else v <= observed) for v in drawn)
    return Interval(float(values.mean()), low, high, len(drawn)), (1 + extreme) / (1 + len(drawn))
