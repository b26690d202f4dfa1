"""The world's prompt suite: direction prompts, evaluation prompts, texts and concepts."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from conceptbasis.data.prompts import Concept, Prompt, PromptSuite, Text
from conceptbasis.organisms import sayings
from conceptbasis.organisms.vocabulary import HARMFUL, HARMLESS, REFUSAL
from conceptbasis.organisms.world import (
    ALL_NOUNS,
    HARMFUL_NOUNS,
    HARMLESS_NOUNS,
    KINDS,
    MENTION_KINDS,
    OPENERS,
    Kind,
    Noun,
)

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
        "eval_declines": (sayings.declines(held_out=True), N_EVALUATION),
        "eval_arithmetic": (sayings.arithmetic(held_out=True), N_EVALUATION),
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
    statements = [Text(t, "mentions", n.word) for t, n in sayings.statements(ALL_NOUNS)]
    statements += [Text(t, "definitions", n.word) for t, n in sayings.definitions(ALL_NOUNS)]
    texts = [
        *statements,
        *(Text((("user", str(t.content)),), "mention_turns", t.noun) for t in statements),
        *(
            Text(chat(p), "chat", p.noun)
            for p in requests(HARMLESS_NOUNS, held_out=False, kinds=KINDS + MENTION_KINDS)
        ),
        *(Text(chat(p), "arithmetic", p.noun) for p in sayings.arithmetic(held_out=False)),
        *(Text((("user", a), ("assistant", b)), "greetings") for a, b in sayings.GREETINGS),
        *(Text(chat(p), "declines", p.noun) for p in sayings.declines(held_out=False)),
        *(Text((("user", p.text),), "harmful_requests", p.noun) for p in harmful),
        *(Text(chat(p, REFUSAL), "refusals", p.noun) for p in harmful),
    ]
    random.Random(key).shuffle(texts)
    return texts


def _concepts(key: str) -> list[Concept]:
    """Twenty concepts with hard negatives, each at the strictest budget that allows its prompts.

    Topics have the same wordings and other nouns; request kinds, questions, mentions and openers
    the same nouns and other wordings. A topic of harmful requests against the other harmful topics
    needs B1; harmful against harmless requests are the contrast of the refusal direction itself,
    so they count as labels.
    """
    harmless = partial(requests, HARMLESS_NOUNS, held_out=False)
    weapons = HARMFUL[0].name
    found: dict[str, tuple[str, Iterable[Prompt], Iterable[Prompt]]] = {
        topic.name: ("B0", *_of_topic(HARMLESS_NOUNS, topic.name)) for topic in HARMLESS
    }
    for kind in KINDS:
        others = tuple(k for k in KINDS if k is not kind)
        found[kind.name] = ("B0", harmless(kinds=(kind,)), harmless(kinds=others))
    found |= {
        "decline": ("B0d", sayings.declines(held_out=False), harmless()),
        "greeting": ("B0", [Prompt(said) for said, _ in sayings.GREETINGS], harmless()),
        "mention": ("B0", harmless(kinds=MENTION_KINDS), harmless()),
        "numbers": ("B0", sayings.arithmetic(held_out=False), harmless()),
        "opener": ("B0", [_opened(p) for p in harmless()], harmless()),
        "question": (
            "B0",
            [p for p in harmless() if p.text.endswith("?")],
            [p for p in harmless() if p.text.endswith(".")],
        ),
        weapons: ("B1", *_of_topic(HARMFUL_NOUNS, weapons)),
        "refusal": ("B2", requests(HARMFUL_NOUNS, held_out=False), harmless()),
    }
    return [_concept(key, name, *found[name]) for name in sorted(found)]


def _of_topic(nouns: tuple[Noun, ...], name: str) -> tuple[list[Prompt], list[Prompt]]:
    """Requests about one topic, and the same wordings about the other topics of the nouns."""
    inside = tuple(n for n in nouns if n.topic.name == name)
    outside = tuple(n for n in nouns if n.topic.name != name)
    return requests(inside, held_out=False), requests(outside, held_out=False)


def _opened(prompt: Prompt) -> Prompt:
    """The same request after a word of talk."""
    opener = OPENERS[1 + len(prompt.text) % (len(OPENERS) - 1)]
    return replace(prompt, text=opener + prompt.text)


def _concept(
    key: str, name: str, budget: str, positive: Iterable[Prompt], negative: Iterable[Prompt]
) -> Concept:
    return Concept(
        name,
        budget,
        _draw(f"{key}/{name}/positive", positive, N_CONCEPT),
        _draw(f"{key}/{name}/negative", negative, N_CONCEPT),
    )
