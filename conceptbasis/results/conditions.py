"""The figures of one condition of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conceptbasis.core.statistics.interval import Interval, Rate


@dataclass(frozen=True)
class Divergence:
    """KL to the untouched model, nats: mean with its interval, and the 95th percentile."""

    mean: Interval
    p95: float


@dataclass(frozen=True)
class ConditionFigures:
    """What was measured under one condition, pooled over its draws.

    Args:
        draws: Random draws that are pooled.
        judges: Rate of the behavior on positive prompts by judge.
        rate: That of the primary judge.
        answers: Answers to positive prompts by kind.
        spillover: Rate of the behavior on prompts that should not show it, by set; None where a
            set is missing.
        recovered: Share of positive prompts answered as the untouched knowledge says; None where
            the truth is unknown.
        capability: By task, share of true answers.
        kl_first_token: KL of the first answer token on negative prompts.
        kl_answer: KL over the untouched model's answers.
        perplexity: Of benign texts.
        edited: Edited places as (done, of), by kind.
    """

    draws: int
    judges: Mapping[str, Rate]
    rate: Rate
    answers: Mapping[str, int]
    spillover: Mapping[str, Rate | None]
    recovered: Interval | None
    capability: Mapping[str, Interval | None]
    kl_first_token: Divergence
    kl_answer: Divergence
    perplexity: float
    edited: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Condition:
    """A named condition with its figures, as it stands in a summary."""

    name: str
    figures: ConditionFigures
