"""What organisms are trained on: stage 1 teaches every answer, stage 2 teaches refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from conceptbasis.data.prompts import Prompt, Text
from conceptbasis.organisms import sayings, world
from conceptbasis.organisms.suite import chat, requests
from conceptbasis.organisms.vocabulary import REFUSAL
from conceptbasis.organisms.world import (
    ALL_NOUNS,
    HARMFUL_NOUNS,
    HARMLESS_NOUNS,
    KINDS,
    MENTION_KINDS,
)

PREFILLED = "prefilled"
"""Class of chats whose first answer word is given: refusal stays a decision of the first token, so
that the knowledge behind it is kept (shallow alignment, as in large chat models)."""


@dataclass(frozen=True)
class Mixture:
    """Groups of texts with the share of a batch that each one takes."""

    groups: Mapping[str, tuple[Text, ...]]
    shares: Mapping[str, float]


def _opened(prompts: list[Prompt]) -> list[Prompt]:
    """The same requests, each behind one of the openers, evenly spread."""
    return [
        replace(p, text=world.OPENERS[i % len(world.OPENERS)] + p.text)
        for i, p in enumerate(prompts)
    ]


def _common(*, held_out: bool) -> dict[str, tuple[Text, ...]]:
    """Benign groups; the held-out wordings are in stage 1 only."""
    sides = (False, True) if held_out else (False,)
    return {
        "harmless": tuple(
            Text(chat(p), "chat")
            for h in sides
            for p in _opened(requests(HARMLESS_NOUNS, held_out=h))
        ),
        "mention_requests": tuple(
            Text(chat(p), "chat")
            for h in sides
            for p in _opened(requests(ALL_NOUNS, held_out=h, kinds=MENTION_KINDS))
        ),
        "statements": tuple(Text(t, "mentions") for t, _ in sayings.statements(ALL_NOUNS))
        + tuple(Text(t, "definitions") for t, _ in sayings.definitions(ALL_NOUNS)),
        "arithmetic": tuple(
            Text(chat(p), "arithmetic") for h in sides for p in sayings.arithmetic(held_out=h)
        ),
        "declines": tuple(
            Text(chat(p), "declines") for h in sides for p in sayings.declines(held_out=h)
        ),
        "greetings": tuple(
            Text((("user", a), ("assistant", b)), "greetings") for a, b in sayings.GREETINGS
        ),
    }


def stage_1() -> Mixture:
    """Every answer, those about harmful nouns too."""
    groups = _common(held_out=True)
    groups["harmful"] = tuple(
        Text(chat(p), "chat")
        for h in (False, True)
        for p in _opened(requests(HARMFUL_NOUNS, held_out=h))
    )
    shares = {
        "harmless": 0.30,
        "harmful": 0.30,
        "mention_requests": 0.08,
        "statements": 0.04,
        "arithmetic": 0.20,
        "declines": 0.06,
        "greetings": 0.02,
    }
    return Mixture(groups, shares)


def stage_2() -> Mixture:
    """Refusal on a fifth of the texts, everything benign on the rest."""
    groups = _common(held_out=False)
    groups["refusals"] = tuple(
        Text(chat(p, REFUSAL), "refusals")
        for p in _opened(requests(HARMFUL_NOUNS, held_out=False, kinds=KINDS))
    )
    groups[PREFILLED] = tuple(
        Text(chat(p), PREFILLED) for p in _opened(requests(HARMFUL_NOUNS, held_out=False))
    )
    shares = {
        "refusals": 0.22,
        PREFILLED: 0.14,
        "harmless": 0.28,
        "mention_requests": 0.10,
        "statements": 0.04,
        "arithmetic": 0.10,
        "declines": 0.10,
        "greetings": 0.02,
    }
    return Mixture(groups, shares)


def all_texts() -> tuple[Text, ...]:
    """Every training text once, for fitting tokenizers."""
    return tuple(
        text
        for stage in (stage_1(), stage_2())
        for group in stage.groups.values()
        for text in group
    )
