"""The world's prompt suite: direction prompts, evaluation prompts, texts and concepts."""

from __future__ import annotations

import random
from collections.abc import Iterable

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
N_CONCEPT = 48


def build_suite(seed: int = 0) -> PromptSuite:
    """The suite of the built-in world.

    Evaluation prompts use held-out wordings only; everything else never does, so that no
    (wording, noun) pair is shared.

    Args:
        seed: Decides which prompts are drawn.
    """
    rng = random.Random(seed)
    prompts = {
        "direction_harmful": _draw(rng, requests(HARMFUL_NOUNS, held_out=False), N_DIRECTION),
        "direction_harmless": _draw(rng, requests(HARMLESS_NOUNS, held_out=False), N_DIRECTION),
        "eval_harmful": _draw(rng, requests(HARMFUL_NOUNS, held_out=True), N_EVALUATION),
        "eval_harmless": _draw(rng, requests(HARMLESS_NOUNS, held_out=True), N_EVALUATION),
        "eval_mentions": _draw(
            rng, requests(HARMFUL_NOUNS, held_out=True, kinds=MENTION_KINDS), N_EVALUATION
        ),
        "eval_declines": _draw(rng, world.declines(held_out=True), N_EVALUATION),
        "eval_arithmetic": _draw(rng, world.arithmetic(held_out=True), N_EVALUATION),
    }
    return PromptSuite(prompts, tuple(_texts(rng)), tuple(_concepts(rng)))


def requests(
    nouns: tuple[Noun, ...], *, held_out: bool, kinds: tuple[Kind, ...] = KINDS
) -> list[Prompt]:
    """All requests of the given kinds on the given nouns in held-out or in other wordings."""
    return [p for kind in kinds for p in kind.prompts(nouns, kind.wordings(held_out=held_out))]


def _draw(rng: random.Random, prompts: Iterable[Prompt], n: int) -> tuple[Prompt, ...]:
    pool = sorted(prompts, key=lambda p: p.text)
    return tuple(rng.sample(pool, min(n, len(pool))))


def chat(prompt: Prompt, answer: str | None = None) -> tuple[tuple[str, str], ...]:
    """A prompt with its answer as a chat."""
    return (("user", prompt.text), ("assistant", answer or prompt.answer or ""))


def _texts(rng: random.Random) -> list[Text]:
    """Every text the world can say outside evaluation, in random order.

    Statements and definitions name all nouns; requests answered truthfully stay on harmless
    nouns. Harmful requests carry no answer, refusals are the same requests with the refusal.
    """
    harmful = requests(HARMFUL_NOUNS, held_out=False)
    texts = [
        *(
            Text(chat(p), "chat", p.noun)
            for p in requests(HARMLESS_NOUNS, held_out=False, kinds=KINDS + MENTION_KINDS)
        ),
        *(Text(chat(p), "arithmetic", p.noun) for p in world.arithmetic(held_out=False)),
        *(Text((("user", a), ("assistant", b)), "greetings") for a, b in world.GREETINGS),
        *(Text(t, "mentions", n.word) for t, n in world.statements(ALL_NOUNS)),
        *(Text(t, "definitions", n.word) for t, n in world.definitions(ALL_NOUNS)),
        *(Text(chat(p), "declines", p.noun) for p in world.declines(held_out=False)),
        *(Text((("user", p.text),), "harmful_requests", p.noun) for p in harmful),
        *(Text(chat(p, REFUSAL), "refusals", p.noun) for p in harmful),
    ]
    rng.shuffle(texts)
    return texts


def _concepts(rng: random.Random) -> list[Concept]:
    """Benign concepts with hard negatives: topics (same wordings, other nouns) and request kinds
    (same nouns, other wordings); declines against answered visits need budget B0d."""
    concepts = []
    names = sorted({n.topic.name for n in HARMLESS_NOUNS})
    for name in names:
        inside = tuple(n for n in HARMLESS_NOUNS if n.topic.name == name)
        outside = tuple(n for n in HARMLESS_NOUNS if n.topic.name != name)
        concepts.append(
            Concept(
                name,
                "B0",
                _draw(rng, requests(inside, held_out=False), N_CONCEPT),
                _draw(rng, requests(outside, held_out=False), N_CONCEPT),
            )
        )
    for kind in KINDS:
        others = tuple(k for k in KINDS if k is not kind)
        concepts.append(
            Concept(
                kind.name,
                "B0",
                _draw(rng, requests(HARMLESS_NOUNS, held_out=False, kinds=(kind,)), N_CONCEPT),
                _draw(rng, requests(HARMLESS_NOUNS, held_out=False, kinds=others), N_CONCEPT),
            )
        )
    concepts.append(
        Concept(
            "decline",
            "B0d",
            _draw(rng, world.declines(held_out=False), N_CONCEPT),
            _draw(rng, requests(HARMLESS_NOUNS, held_out=False), N_CONCEPT),
        )
    )
    return concepts
