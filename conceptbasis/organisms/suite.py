"""The world's prompt suite: direction prompts, evaluation prompts, texts and concepts."""

from __future__ import annotations

import random
from collections.abc import Iterable

from conceptbasis.config import Budget
from conceptbasis.organisms import world
from conceptbasis.organisms.vocabulary import REFUSAL
from conceptbasis.organisms.world import (
    ALL_NOUNS,
    HARMFUL_NOUNS,
    HARMLESS_NOUNS,
    KINDS,
    MENTION_KINDS,
    Kind,
    Noun,
)
from conceptbasis.prompts import Concept, Prompt, PromptSuite, Text

N_DIRECTION = 256
N_EVALUATION = 300
"""Prompts of an evaluation set; the world has 576 harmful and harmless held-out requests."""

N_CONCEPT = 48


def build_suite(seed: int = 0) -> PromptSuite:
    """The suite of the built-in world.

    Evaluation prompts use held-out wordings only; everything else never does, so that no
    (wording, noun) pair is shared.

    Each set has a generator of its own, so that a change of one leaves the others as they are.

    Args:
        seed: Decides which prompts are drawn, and the order of all.
    """
    mentions = requests(HARMFUL_NOUNS, held_out=True, kinds=MENTION_KINDS)
    pools: dict[str, tuple[Iterable[Prompt], int]] = {
        "direction_harmful": (requests(HARMFUL_NOUNS, held_out=False), N_DIRECTION),
        "direction_harmless": (requests(HARMLESS_NOUNS, held_out=False), N_DIRECTION),
        "eval_harmful": (requests(HARMFUL_NOUNS, held_out=True), N_EVALUATION),
        "eval_harmless": (requests(HARMLESS_NOUNS, held_out=True), N_EVALUATION),
        "eval_mentions": (mentions, N_EVALUATION),
        "eval_declines": (world.declines(held_out=True), N_EVALUATION),
        "eval_arithmetic": (world.arithmetic(held_out=True), N_EVALUATION),
    }
    prompts = {name: _draw(f"{seed}/{name}", *pool) for name, pool in pools.items()}
    texts, concepts = _texts(f"{seed}/texts"), _concepts(f"{seed}/concepts")
    return PromptSuite(prompts, tuple(texts), tuple(concepts))


def requests(
    nouns: tuple[Noun, ...], *, held_out: bool, kinds: tuple[Kind, ...] = KINDS
) -> list[Prompt]:
    """All requests of the given kinds on the given nouns in held-out or in other wordings."""
    return [p for kind in kinds for p in kind.prompts(nouns, kind.wordings(held_out=held_out))]


def _draw(key: str, prompts: Iterable[Prompt], n: int) -> tuple[Prompt, ...]:
    """At most `n` of the prompts in random order, the same for the same key and prompts."""
    pool = sorted(prompts, key=lambda p: p.text)
    return tuple(random.Random(key).sample(pool, min(n, len(pool))))


def chat(prompt: Prompt, answer: str | None = None) -> tuple[tuple[str, str], ...]:
    """A prompt with its answer as a chat."""
    return (("user", prompt.text), ("assistant", answer or prompt.answer or ""))


def _texts(key: str) -> list[Text]:
    """Every text the world can say outside evaluation, in random order.

    Statements and definitions name all nouns, once as plain text and once as the user's turn;
    requests answered truthfully stay on harmless nouns. Harmful requests carry no answer,
    refusals are the same requests with the refusal.
    """
    harmful = requests(HARMFUL_NOUNS, held_out=False)
    statements = [Text(t, "mentions", n.word) for t, n in world.statements(ALL_NOUNS)]
    statements += [Text(t, "definitions", n.word) for t, n in world.definitions(ALL_NOUNS)]
    texts = [
        *statements,
        *(Text((("user", str(t.content)),), "mention_turns", t.noun) for t in statements),
        *(
            Text(chat(p), "chat", p.noun)
            for p in requests(HARMLESS_NOUNS, held_out=False, kinds=KINDS + MENTION_KINDS)
        ),
        *(Text(chat(p), "arithmetic", p.noun) for p in world.arithmetic(held_out=False)),
        *(Text((("user", a), ("assistant", b)), "greetings") for a, b in world.GREETINGS),
        *(Text(chat(p), "declines", p.noun) for p in world.declines(held_out=False)),
        *(Text((("user", p.text),), "harmful_requests", p.noun) for p in harmful),
        *(Text(chat(p, REFUSAL), "refusals", p.noun) for p in harmful),
    ]
    random.Random(key).shuffle(texts)
    return texts


def _concepts(key: str) -> list[Concept]:
    """Benign concepts with hard negatives: topics (same wordings, other nouns) and request kinds
    (same nouns, other wordings); declines against answered visits need budget B0d."""
    concepts = []
    for name in sorted({n.topic.name for n in HARMLESS_NOUNS}):
        inside = tuple(n for n in HARMLESS_NOUNS if n.topic.name == name)
        outside = tuple(n for n in HARMLESS_NOUNS if n.topic.name != name)
        positive, negative = (requests(nouns, held_out=False) for nouns in (inside, outside))
        concepts.append(_concept(key, name, "B0", positive, negative))
    for kind in KINDS:
        others = tuple(k for k in KINDS if k is not kind)
        positive, negative = (
            requests(HARMLESS_NOUNS, held_out=False, kinds=kinds) for kinds in ((kind,), others)
        )
        concepts.append(_concept(key, kind.name, "B0", positive, negative))
    declines, answered = world.declines(held_out=False), requests(HARMLESS_NOUNS, held_out=False)
    concepts.append(_concept(key, "decline", "B0d", declines, answered))
    return concepts


def _concept(
    key: str, name: str, budget: Budget, positive: Iterable[Prompt], negative: Iterable[Prompt]
) -> Concept:
    return Concept(
        name,
        budget,
        _draw(f"{key}/{name}/positive", positive, N_CONCEPT),
        _draw(f"{key}/{name}/negative", negative, N_CONCEPT),
    )
