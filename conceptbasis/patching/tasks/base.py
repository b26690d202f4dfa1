"""What a task is: pairs of prompts that differ in it, and tokens that say whether it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conceptbasis.data.prompts import PromptSuite
    from conceptbasis.models.loading.loaded import LoadedModel


@dataclass(frozen=True)
class Pair:
    """A clean prompt, on which the task is done, and a corrupted one of the same length.

    The metric of either is log Σ exp(logits of `right`) − log Σ exp(logits of `wrong`) at the last
    position: a logit difference where each is one token.

    Args:
        clean: Token ids.
        corrupted: Token ids, as many.
        right: Tokens that begin an answer which does the task.
        wrong: Tokens that begin one which does not.
        shape: Pairs of one shape share the meaning of each position.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    shape: str = ""


@dataclass(frozen=True)
class TokenPairs:
    """The pairs of a task in the tokens of one model.

    Args:
        pairs: At least one.
        references: Further corrupted prompts by shape, for the means of the knock-out.
        n_unequal: Pairs that were left out, since both prompts differ in their number of tokens or
            the answers begin with the same token.
    """

    pairs: Sequence[Pair]
    references: Sequence[tuple[str, tuple[int, ...]]] = ()
    n_unequal: int = 0


@dataclass(frozen=True)
class Task:
    """A task, such as continuing a sequence.

    Args:
        name: Its name on the command line.
        label: What a reader sees.
        clean: What a clean prompt is, in words.
        corrupted: What a corrupted prompt is, in words.
        pairs: Makes the pairs for a model, at most so many; a suite of prompts is given where
            `behavior` names one.
        behavior: Name of the behavior whose prompts it reads, None where it has its own.
        least_rate: A model that does the task on a smaller share of clean prompts is refused.
        source: Where the task is from.
    """

    name: str
    label: str
    clean: str
    corrupted: str
    pairs: Callable[[LoadedModel, PromptSuite | None, int], TokenPairs]
    behavior: str | None = None
    least_rate: float = 0.6
    source: str = ""
