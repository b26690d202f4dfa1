"""What `capability` leaves in `capability.json`: figures before and after a finished transfer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskFigure:
    """One metric of one task, without the edit and with it."""

    task: str
    metric: str
    before: float
    after: float


@dataclass(frozen=True)
class Capability:
    """All figures that were measured.

    Args:
        rows: One entry per task and metric.
        limit: The first items of each task only, None for all.
        n_pieces: Pieces of the texts whose perplexity was measured.
        edited: Edited places as (done, of), by kind.
    """

    rows: tuple[TaskFigure, ...]
    limit: int | None
    n_pieces: int
    edited: Mapping[str, tuple[int, int]]
