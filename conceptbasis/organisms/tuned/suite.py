"""The prompt suite of tuned models: the same templates, the models' own answers in the turns."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from conceptbasis.data.prompts import Concept, Prompt, PromptSuite, Text
from conceptbasis.organisms.tuned import sayings
from conceptbasis.organisms.tuned.answers import Answer, asked
from conceptbasis.organisms.tuned.requests import Share, draw, split

N_DIRECTION, N_EVALUATION, N_CONCEPT = 256, 264, 48
N_REFUSALS = 400
_CLASSES = {
    "harmless": "chat",
    "near": "chat",
    "about": "chat",
    "greetings": "greetings",
    "arithmetic": "arithmetic",
}


def build_suite(answers: Mapping[str, Answer], seed: int = 0) -> PromptSuite:
    """The suite of tuned models; evaluation shares neither wordings nor activities with the rest.

    Args:
        answers: Own answers to the requests of `answers.asked`, by prompt.
        seed: Decides which prompts are drawn, and the order of all.
    """
    taught, held = split(held_out=False), split(held_out=True)
    half = N_DIRECTION // 2
    harmless = (
        *draw(f"{seed}/direction/harmless", taught.harmless_requests(), half),
        *draw(f"{seed}/direction/near", taught.near_requests(), half),
    )
    prompts = {
        "direction_harmful": _draw(seed, "direction", taught.harmful_requests(), N_DIRECTION),
        "direction_harmless": harmless,
        "eval_harmful": _draw(seed, "harmful", held.harmful_requests(), N_EVALUATION),
        "eval_harmless": _draw(seed, "harmless", held.harmless_requests(), N_EVALUATION),
        "eval_mentions": _draw(seed, "near", held.near_requests(), N_EVALUATION),
        "eval_declines": _draw(seed, "declines", sayings.declines(held_out=True), N_EVALUATION),
    }
    return PromptSuite(prompts, _texts(answers, taught, seed), _concepts(taught, seed))


def _draw(seed: int, name: str, prompts: Iterable[Prompt], n: int) -> tuple[Prompt, ...]:
    return draw(f"{seed}/suite/{name}", prompts, n)


def _texts(answers: Mapping[str, Answer], taught: Share, seed: int) -> tuple[Text, ...]:
    """Chats with own answers, statements, definitions, polite noes; harmful text at its budget."""
    requests = asked()
    texts = [
        Text(_turns(prompt.text, answers[prompt.text].text), text_class, prompt.noun)
        for group, text_class in _CLASSES.items()
        for prompt in requests[group]
        if prompt.text in answers and answers[prompt.text].text
    ]
    texts += [
        Text(answers[p.text].text, "definitions", p.noun)
        for p in requests["about"]
        if p.text in answers and answers[p.text].text
    ]
    said = sayings.statements(taught.harms, tuple(do for _, do in taught.harmless))
    said = list(draw(f"{seed}/statements", said, 3 * len(taught.harms)))
    texts += [Text(p.text, "mentions", p.noun) for p in said]
    texts += [Text((("user", p.text),), "mention_turns", p.noun) for p in said]
    texts += [
        Text(_turns(p.text, p.answer or ""), "declines", p.noun)
        for p in sayings.declines(held_out=False)
    ]
    harmful = draw(f"{seed}/harmful", taught.harmful_requests(), N_REFUSALS)
    texts += [Text((("user", p.text),), "harmful_requests", p.noun) for p in harmful]
    texts += [
        Text(_turns(p.text, sayings.refusal(p, i)), "refusals", p.noun)
        for i, p in enumerate(harmful)
    ]
    random.Random(f"{seed}/texts").shuffle(texts)
    return tuple(texts)


def _turns(prompt: str, answer: str) -> tuple[tuple[str, str], ...]:
    return (("user", prompt), ("assistant", answer))


def _concepts(taught: Share, seed: int) -> tuple[Concept, ...]:
    """Fields of activities and forms of speech against the rest; refusal itself needs B2."""
    harmless = taught.harmless_requests()
    fields = dict.fromkeys(field for field, _ in taught.harmless)
    found: dict[str, tuple[str, list[Prompt], list[Prompt]]] = {
        field: (
            "B0",
            [p for p in harmless if p.kind == field],
            [p for p in harmless if p.kind != field],
        )
        for field in fields
    }
    questions = [p for p in harmless if p.text.endswith("?")]
    found |= {
        "question": ("B0", questions, [p for p in harmless if not p.text.endswith("?")]),
        "about": ("B0", taught.about_requests(), harmless),
        "greeting": ("B0", [Prompt(text) for text in sayings.GREETINGS], harmless),
        "sum": ("B0", sayings.arithmetic(held_out=False), harmless),
        "decline": ("B0d", sayings.declines(held_out=False), harmless),
        "refusal": ("B2", taught.harmful_requests(), harmless),
    }
    return tuple(
        Concept(
            name,
            budget,
            draw(f"{seed}/{name}/positive", positive, N_CONCEPT),
            draw(f"{seed}/{name}/negative", negative, N_CONCEPT),
        )
        for name, (budget, positive, negative) in sorted(found.items())
    )
