"""The pick among candidate directions; free of tensor libraries, so that readers may use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One candidate direction; `reason` is None where it passed every test.

    Args:
        position: From the end of the prompt: −1 is the last one.
        layer: The layer it comes from.
        bypass: Log-odds of the behavior on positive prompts once the direction is ablated.
        induce: The same on negative prompts once the direction is added.
        kl: First-token KL on negative prompts under ablation, nats.
        reason: The first test it failed.
    """

    position: int
    layer: int
    bypass: float
    induce: float
    kl: float
    reason: str | None


@dataclass(frozen=True)
class Selection:
    """The picked candidate, and why the others were out.

    Args:
        found: Whether any passed.
        position: Of the pick, None without one.
        layer: Of the pick, None without one.
        rejected: Candidates by the first test they failed: `nan`, `layer`, `kl`, `steering`.
        table: All candidates.
    """

    found: bool
    position: int | None
    layer: int | None
    rejected: Mapping[str, int]
    table: tuple[Candidate, ...]
