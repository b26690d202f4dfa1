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
        bypass: Log-odds of the behavior on positive prompts once the direction is ablated; None
            where a better candidate passed before this one was measured.
        induce: The same on negative prompts once the direction is added.
        kl: First-token KL on negative prompts under ablation, nats.
        reason: The first test it failed, or `screened`.
    """

    position: int
    layer: int
    bypass: float | None
    induce: float | None
    kl: float | None
    reason: str | None


@dataclass(frozen=True)
class Selection:
    """The picked candidate, and why the others were out.

    Args:
        found: Whether any passed.
        position: Of the pick, None without one.
        layer: Of the pick, None without one.
        rejected: Candidates by the first test they failed: `nan`, `layer`, `kl`, `steering`; and
            those that were `screened`.
        max_kl: The bound on KL that the pick holds: the one asked for, or the first of its
            doublings at which a candidate passes.
        table: All candidates.
    """

    found: bool
    position: int | None
    layer: int | None
    rejected: Mapping[str, int]
    max_kl: float
    table: tuple[Candidate, ...]
