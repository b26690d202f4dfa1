"""Which prompt set of a suite plays which part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PromptSets:
    """Which prompt set of a suite plays which part; each set is a file `NAME.jsonl`.

    Args:
        positive: Prompts that show the behavior, from which directions are made.
        negative: Prompts that do not.
        eval_positive: Held-out prompts that show it.
        eval_negative: Held-out prompts that do not.
        spillover: By short name, prompt sets that must not show it whatever is done.
        capability: By task, prompt sets with true answers.
    """

    positive: str
    negative: str
    eval_positive: str
    eval_negative: str
    spillover: Mapping[str, str]
    capability: Mapping[str, str]

    @property
    def evaluated(self) -> dict[str, str]:
        """Every set of an evaluation by its short name; `positive` is the first."""
        sets = {"positive": self.eval_positive, **self.spillover}
        known = set(sets.values())
        return sets | {n: s for n, s in self.capability.items() if s not in known}

    @property
    def required(self) -> tuple[str, ...]:
        """Sets without which there is no study."""
        return (self.positive, self.negative, self.eval_positive, self.eval_negative)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Sets that are read after the transfer is sealed only."""
        return tuple(name for name in self.names if name not in (self.positive, self.negative))

    @property
    def names(self) -> tuple[str, ...]:
        """Every set that a suite may hold."""
        more = (*self.spillover.values(), *self.capability.values())
        return tuple(dict.fromkeys((*self.required, *more)))

    @property
    def opposed(self) -> tuple[tuple[str, str], ...]:
        """Positive and negative sets of one kind, which may share no prompt."""
        return (self.positive, self.negative), (self.eval_positive, self.eval_negative)
