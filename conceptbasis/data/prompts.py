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

from conceptbasis.config.budgets import allowed_classes, class_names, may_be_positive
from conceptbasis.data.roles import PromptSets
from conceptbasis.errors import PromptError


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

    @property
    def parts(self) -> tuple[str, ...]:
        """What is said in it, one part a turn."""
        if isinstance(self.content, str):
            return (self.content,)
        return tuple(content for _, content in self.content)

    def as_messages(self) -> str | list[dict[str, str]]:
        """The form that chat templates take: a string, or a list of role and content."""
        if isinstance(self.content, str):
            return self.content
        return [{"role": role, "content": content} for role, content in self.content]


@dataclass(frozen=True)
class Concept:
    """A named concept: texts that carry it and hard negatives that do not."""

    name: str
    budget: str
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

    def texts_for(self, budget: str, without: Sequence[str] = ()) -> tuple[Text, ...]:
        """The texts that `budget` allows, in their stored order, but for the classes `without`."""
        classes = allowed_classes(budget)
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


def check_disjoint(suite: PromptSuite, sets: PromptSets) -> None:
    """Refuses a suite whose evaluation prompts occur in what was used before.

    Args:
        suite: Any suite.
        sets: Which of its sets plays which part.

    Raises:
        PromptError: if a required set is empty or an evaluation prompt also stands in a direction
            set, a concept set or a text.
    """
    for name in sets.required:
        _ = suite[name]
    seen: dict[str, str] = {}
    for name in (sets.positive, sets.negative):
        seen.update({normalise(p.text): name for p in suite[name]})
    for text in suite.texts:
        seen.update({normalise(part): f"texts ({text.text_class})" for part in text.parts})
    for concept in suite.concepts:
        both = (*concept.positive, *concept.negative)
        seen.update({normalise(p.text): f"concept {concept.name}" for p in both})
    for name in sets.held_out:
        _require_none_of(suite, name, seen)
    for positive, negative in sets.opposed:
        _require_none_of(suite, negative, {normalise(p.text): positive for p in suite[positive]})
    _check_texts(suite, sets.positive)


def _check_texts(suite: PromptSuite, name: str) -> None:
    """A positive prompt must not pass as text of a narrower class than its own."""
    positive = {normalise(p.text) for p in suite[name]}
    for text in suite.texts:
        if may_be_positive(text.text_class):
            continue
        if positive & {normalise(part) for part in text.parts}:
            wide = ", ".join(c for c in class_names() if may_be_positive(c))
            raise PromptError(
                f"a prompt of {name} also occurs in texts ({text.text_class})",
                expected=f"such prompts in texts of these classes only: {wide}",
                fix="correct the text's class, or remove it",
            )


def _require_none_of(suite: PromptSuite, name: str, seen: Mapping[str, str]) -> None:
    """Refuses prompts of a set that stand elsewhere, by their numbers and not by their words."""
    shared = [
        (number, seen[key])
        for number, prompt in enumerate(suite.prompts.get(name, ()), 1)
        if (key := normalise(prompt.text)) in seen
    ]
    if shared:
        number, other = shared[0]
        raise PromptError(
            f"{len(shared)} prompts of {name} also occur in {other}, e.g. number {number}",
            expected="evaluation prompts that occur nowhere else (case and punctuation aside)",
            fix=f"remove the shared prompts from {name} or from {other}",
        )
