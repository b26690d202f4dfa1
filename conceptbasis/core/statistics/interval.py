"""The one interval type; free of tensor libraries, so that readers of results start at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Interval:
    """A point value with its interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


Figure: TypeAlias = Interval | float
"""A figure: with its interval where one is known, else the bare number."""


@dataclass(frozen=True)
class Rate:
    """A share of scored items.

    Args:
        interval: The share with its interval, None where no item could be scored.
        unscored: Items without a verdict; they are in neither class.
    """

    interval: Interval | None
    unscored: int = 0
