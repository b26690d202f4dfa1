"""What `audit` leaves in `audit.json`: the behavior of one model by itself."""

from __future__ import annotations

from dataclasses import dataclass

from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.results.direction import Selection


@dataclass(frozen=True)
class Swept:
    """What one strength does.

    Args:
        name: Of the edit, with its strength.
        rate: Rate of the behavior on positive prompts.
        spillover: The same on negative prompts.
    """

    name: str
    rate: Rate
    spillover: Rate


@dataclass(frozen=True)
class Audit:
    """A model's own direction of the behavior, and a sweep of strengths in both directions.

    Args:
        model: Its name.
        behavior: Name of the behavior.
        baseline: Rate of the behavior on positive prompts.
        selection: Table and pick of the published rule.
        norms: Norm of the difference of means by layer.
        standard_deviation: Of the projection on the direction.
        sweep: One entry a strength.
    """

    model: str
    behavior: str
    baseline: Interval
    selection: Selection
    norms: tuple[float, ...]
    standard_deviation: float
    sweep: tuple[Swept, ...]
