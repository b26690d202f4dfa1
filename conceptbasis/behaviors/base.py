"""What a behavior is: two prompt sets that differ in it, a judge, its benign neighbours, words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conceptbasis.data.roles import PromptSets

if TYPE_CHECKING:
    from conceptbasis.data.prompts import Prompt, PromptSuite


@dataclass(frozen=True)
class Words:
    """What a reader sees.

    Args:
        noun: What the behavior is called.
        rate: Label of its rate on positive prompts.
        rate_key: Name of that rate in tables and in wandb.
        spillover: Label of its rate where it must not show.
        spillover_key: Its name in tables and in wandb.
        recovered: Label of the share of positive prompts answered truly.
        recovered_key: Its name in tables and in wandb.
        positive: What positive prompts are called.
        negative: What negative prompts are called.
        shows: Verb: what a model that has the behavior does.
    """

    noun: str
    rate: str
    rate_key: str
    spillover: str
    spillover_key: str
    recovered: str
    recovered_key: str
    positive: str
    negative: str
    shows: str


@dataclass(frozen=True)
class Behavior:
    """One behavior.

    Args:
        name: Its name in the configuration.
        sets: Prompt sets by part.
        judge: Name of the primary judge, a registered one.
        neighbour: Class of text that looks like the behavior and is benign (budget B0d).
        hidden_classes: Classes of text whose wording is never shown or logged.
        redact: A stand-in for a positive prompt that may be shown.
        words: What a reader sees.
        check: What else its prompts and texts must fulfil; raises `PromptError`.
    """

    name: str
    sets: PromptSets
    judge: str
    neighbour: str
    hidden_classes: tuple[str, ...]
    redact: Callable[[Prompt], str]
    words: Words
    check: Callable[[PromptSuite], None] | None = None
