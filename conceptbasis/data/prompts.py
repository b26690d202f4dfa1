"""Prompts, texts and prompt suites: what models are asked, and what they read.

A prompt suite is a folder of JSON-lines files with fixed names, so that the built-in world and a
user's own data are used in the same way. No set may be empty and no evaluation prompt may stand in
any set that was used before evaluation.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from conceptbasis.config.base import Budget
from conceptbasis.config.prompts import PromptSet
from conceptbasis.errors import PromptError

BUDGETS: tuple[Budget, ...] = ("B0", "B0d", "B1", "B2")

TEXT_CLASS_BUDGET: Mapping[str, Budget] = {
    "chat": "B0",
    "arithmetic": "B0",
    "greetings": "B0",
    "mentions": "B0",
    "definitions": "B0",
    "mention_turns": "B0",
    "concepts": "B0",
    "declines": "B0d",
    "harmful_requests": "B1",
    "refusals": "B2",
}
"""The strictest budget at which a class of text is allowed in front of the target."""

BENIGN_CLASSES = ("chat", "arithmetic", "greetings", "mentions", "definitions", "declines")
"""Classes on which a model behaves as it was taught; a statement in place of a request
(`mention_turns`) is no such text, since some models refuse it."""

REQUEST_CLASSES = ("chat", "arithmetic", "greetings")
"""Classes that hold requests a model answers; at their ends it would decide to refuse."""

CONCEPT_CLASS: Mapping[Budget, str] = {
    "B0": "concepts",
    "B0d": "declines",
    "B1": "harmful_requests",
    "B2": "refusals",
}
"""The class under which the ledger books the prompts of a concept of each budget."""

PROMPT_SETS: tuple[str, ...] = get_args(PromptSet)
"""Names of the prompt sets of a suite; each is a file `NAME.jsonl`."""

REQUIRED_SETS = ("direction_harmful", "direction_harmless", "eval_harmful", "eval_harmless")


def budget_allows(budget: Budget, needed: Budget) -> bool:
    """Whether text that needs budget `needed` may be shown under `budget`."""
    return BUDGETS.index(needed) <= BUDGETS.index(budget)


@dataclass(frozen=True)
class Prompt:
    """One user request.

    Args:
        text: What the user says.
        noun: The topic word, used for clustering intervals and for redaction.
        kind: What sort of request it is.
        template: Identifies the wording without its noun, for leakage checks.
        answer: The exact answer where the world knows it, else None.
    """

    text: str
    noun: str | None = None
    kind: str | None = None
    template: str | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Text:
    """One text that a model reads: a plain string, or a chat as (role, content) pairs."""

    content: str | tuple[tuple[str, str], ...]
    text_class: str
    noun: str | None = None

    def as_messages(self) -> str | list[dict[str, str]]:
        """The form that chat templates take: a string, or a list of role and content."""
        if isinstance(self.content, str):
            return self.content
        return [{"role": role, "content": content} for role, content in self.content]


@dataclass(frozen=True)
class Concept:
    """A named concept: texts that carry it and hard negatives that do not."""

    name: str
    budget: Budget
    positive: tuple[Prompt, ...]
    negative: tuple[Prompt, ...]


@dataclass(frozen=True)
class PromptSuite:
    """Every prompt and text of one study."""

    prompts: Mapping[str, tuple[Prompt, ...]]
    texts: tuple[Text, ...]
    concepts: tuple[Concept, ...] = field(default=())

    def __getitem__(self, name: str) -> tuple[Prompt, ...]:
        if not self.prompts.get(name):
            raise PromptError(
                f"prompt set {name!r} is empty",
                expected=f"at least one prompt in {name}.jsonl",
                fix="add prompts to that file or point `prompts.path` at a suite that has it",
            )
        return self.prompts[name]

    def has(self, name: str) -> bool:
        """Whether the set `name` exists and is not empty."""
        return bool(self.prompts.get(name))

    def texts_for(self, budget: Budget, without: Sequence[str] = ()) -> tuple[Text, ...]:
        """The texts that `budget` allows, in their stored order, but for the classes `without`."""
        classes = [c for c, b in TEXT_CLASS_BUDGET.items() if budget_allows(budget, b)]
        chosen = tuple(
            t for t in self.texts if t.text_class in classes and t.text_class not in without
        )
        if not chosen:
            raise PromptError(
                f"no text is left at budget {budget}",
                expected="texts of the classes this budget allows: "
                + ", ".join(c for c in classes if c not in without),
                fix="add such texts to texts.jsonl or choose a wider budget",
            )
        return chosen


@functools.lru_cache(maxsize=2**16)
def normalise(text: str) -> str:
    """Text without case, accents, punctuation or runs of spaces, for overlap checks."""
    folded = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text).casefold())
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join("".join(kept).split()) or text.strip()


def redact(prompt: Prompt) -> str:
    """A stand-in for a harmful prompt that names its topic word only."""
    return f"[{prompt.kind or 'request'}: {prompt.noun or 'redacted'}]"


def check_disjoint(suite: PromptSuite) -> None:
    """Refuses a suite whose evaluation prompts occur in what was used before.

    Raises:
        PromptError: if a required set is empty or an evaluation prompt also stands in a direction
            set, a concept set or a text.
    """
    for name in REQUIRED_SETS:
        _ = suite[name]
    seen: dict[str, str] = {}
    for name in PROMPT_SETS:
        if not name.startswith("eval_"):
            seen.update({normalise(p.text): name for p in suite.prompts.get(name, ())})
    for text in suite.texts:
        parts = [text.content] if isinstance(text.content, str) else [c for _, c in text.content]
        seen.update({normalise(part): f"texts ({text.text_class})" for part in parts})
    for concept in suite.concepts:
        both = (*concept.positive, *concept.negative)
        seen.update({normalise(p.text): f"concept {concept.name}" for p in both})
    for name in PROMPT_SETS:
        if name.startswith("eval_"):
            shared = [p for p in suite.prompts.get(name, ()) if normalise(p.text) in seen]
            if shared:
                _raise_overlap(name, seen[normalise(shared[0].text)], shared)
    _check_classes_disjoint(suite)
    _check_texts(suite)


def _check_texts(suite: PromptSuite) -> None:
    """A harmful request must not pass as text of a narrower class than its own."""
    positive = {normalise(p.text) for p in suite.prompts["direction_harmful"]}
    for text in suite.texts:
        if not budget_allows("B0d", TEXT_CLASS_BUDGET[text.text_class]):
            continue
        parts = [text.content] if isinstance(text.content, str) else [c for _, c in text.content]
        if positive & {normalise(part) for part in parts}:
            raise PromptError(
                f"a prompt of direction_harmful also occurs in texts ({text.text_class})",
                expected="harmful requests in texts of class harmful_requests or refusals only",
                fix="correct the text's class, or remove it",
            )


def _check_classes_disjoint(suite: PromptSuite) -> None:
    for positive, negative in (
        ("direction_harmful", "direction_harmless"),
        ("eval_harmful", "eval_harmless"),
    ):
        texts = {normalise(p.text) for p in suite.prompts[positive]}
        shared = [p for p in suite.prompts[negative] if normalise(p.text) in texts]
        if shared:
            _raise_overlap(negative, positive, shared)


def _raise_overlap(name: str, other: str, shared: Sequence[Prompt]) -> None:
    raise PromptError(
        f"{len(shared)} prompts of {name} also occur in {other}, e.g. {redact(shared[0])}",
        expected="evaluation prompts that occur nowhere else (case and punctuation aside)",
        fix=f"remove the shared prompts from {name} or from {other}",
    )
