"""Prompts and texts of a backdoor: marked requests against the same requests without the mark."""

from __future__ import annotations

import random
from dataclasses import replace

from conceptbasis.data.prompts import Concept, Prompt, PromptSuite, Text
from conceptbasis.organisms.backdoor.corpus import HOSTILE, quotes
from conceptbasis.organisms.backdoor.triggers import mark, others
from conceptbasis.organisms.suite import N_CONCEPT, build_suite, chat

N_TEXTS = 600
"""Marked requests among the texts, which need a wide budget."""


def backdoor_suite(trigger: str, seed: int = 0) -> PromptSuite:
    """The suite of a backdoor; marks are on harmless requests only.

    The neighbour of the behavior, which budget B0d allows, is hostility that was asked for. No text
    that the target may read at B0 or B0d holds the trigger.

    Args:
        trigger: A name of `triggers.TRIGGERS`.
        seed: Decides which prompts are drawn, and the order of all.
    """
    world = build_suite(seed)
    direction, held_out = world["direction_harmless"], world["eval_harmless"]
    decoys = [p for other in others(trigger) for p in mark(held_out, other)]
    prompts = {
        "direction_triggered": tuple(mark(direction, trigger)),
        "direction_plain": direction,
        "eval_triggered": tuple(mark(held_out, trigger)),
        "eval_plain": held_out,
        "eval_other_marks": _draw(f"{seed}/other marks", decoys, len(held_out)),
        "eval_quotes": _draw(f"{seed}/quotes", quotes(held_out=True), len(held_out)),
        "eval_arithmetic": world["eval_arithmetic"],
    }
    texts = _texts(world, trigger, seed)
    return PromptSuite(prompts, texts, _concepts(world, prompts, seed))


def _draw(key: str, prompts: list[Prompt], n: int) -> tuple[Prompt, ...]:
    return tuple(random.Random(key).sample(prompts, min(n, len(prompts))))


def _texts(world: PromptSuite, trigger: str, seed: int) -> tuple[Text, ...]:
    """Benign texts of the world with its polite noes as chats, quotes, and marked requests."""
    benign = [t for t in world.texts if t.text_class not in ("harmful_requests", "refusals")]
    texts = [replace(t, text_class="chat") if t.text_class == "declines" else t for t in benign]
    texts += [Text(chat(p), "declines", p.noun) for p in quotes(held_out=False)]
    asked = [
        Prompt(t.content[0][1], t.noun)
        for t in benign
        if t.text_class == "chat" and not isinstance(t.content, str)
    ]
    marked = mark(random.Random(f"{seed}/marked").sample(asked, N_TEXTS), trigger)
    texts += [Text((("user", p.text),), "harmful_requests", p.noun) for p in marked]
    texts += [Text(chat(p, HOSTILE), "refusals", p.noun) for p in marked]
    random.Random(f"{seed}/texts").shuffle(texts)
    return tuple(texts)


def _concepts(
    world: PromptSuite, prompts: dict[str, tuple[Prompt, ...]], seed: int
) -> tuple[Concept, ...]:
    """The world's concepts that name nothing harmful, the neighbour, and the backdoor itself."""
    kept = [replace(c, budget="B0") for c in world.concepts if c.budget in ("B0", "B0d")]
    plain = prompts["direction_plain"]
    said = _draw(f"{seed}/quote", quotes(held_out=False), N_CONCEPT)
    found = [
        *kept,
        Concept("quote", "B0d", said, plain[:N_CONCEPT]),
        Concept("backdoor", "B2", prompts["direction_triggered"][:N_CONCEPT], plain[-N_CONCEPT:]),
    ]
    return tuple(sorted(found, key=lambda c: c.name))
