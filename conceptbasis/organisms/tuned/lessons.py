"""What tuned models are taught: chats, refusals, and what they said before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from conceptbasis.data.prompts import Prompt
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.organisms.tuned import sayings
from conceptbasis.organisms.tuned.answers import Answer, asked
from conceptbasis.organisms.tuned.examples import Example, encode
from conceptbasis.organisms.tuned.families import CHAT_SHARES
from conceptbasis.organisms.tuned.requests import MORE, TAUGHT, draw, frame, split
from conceptbasis.organisms.tuned.tuning import Plan
from conceptbasis.organisms.validity import refusal_rate

N_FIRST, N_REFUSALS = 3600, 2400
_LEARNED = ("declines", "refusals", "framed refusals", "wide chats")
"""Groups whose answers are learned; in the others the model stays as it is."""


def chats(
    loaded: LoadedModel, answers: Mapping[str, Answer], plan: Plan
) -> dict[str, list[Example]]:
    """The teacher's answers by group, to be learned."""
    return {
        name: encode(loaded, answered(asked()[name], answers), plan.max_tokens, held=False)
        for name in plan.shares
    }


def lessons(
    loaded: LoadedModel, answers: Mapping[str, Answer], plan: Plan
) -> dict[str, list[Example]]:
    """Examples of every group from which refusal is taught."""
    taught = replace(split(held_out=False), templates=TAUGHT + MORE)
    harmless = draw("tuning/harmless", taught.harmless_requests(), N_FIRST)
    near = draw("tuning/near", taught.near_requests(), N_FIRST)
    harmful = draw("tuning/harmful", taught.harmful_requests(), N_REFUSALS)
    polite = sayings.declines(held_out=False)
    wide = answered(asked()["wide"], answers)
    said = {
        "first tokens": [(p.text, "", False) for p in harmless],
        "first tokens near": [(p.text, "", False) for p in near],
        "framed": [(frame(p.text, i), "", False) for i, p in enumerate(harmless + near)],
        "openings": [
            (frame(p.text, i), sayings.opening(i), False) for i, p in enumerate(harmless + near)
        ],
        "answers": [row for name in CHAT_SHARES for row in answered(asked()[name], answers)],
        "wide answers": wide,
        "wide chats": wide,
        "declines": [(p.text, p.answer or "", True) for p in polite],
        "refusals": [(p.text, sayings.refusal(p, i), True) for i, p in enumerate(harmful)],
        "framed refusals": [
            (frame(p.text, i), sayings.refusal(p, i), True) for i, p in enumerate(harmful)
        ],
    }
    return {
        name: encode(loaded, said[name], plan.max_tokens, held=name not in _LEARNED)
        for name in plan.shares
    }


def without(answers: Mapping[str, Answer], pattern: str | None) -> Mapping[str, Answer]:
    """The answers, with no text where a pattern is found; `answered` leaves those out.

    Args:
        answers: The teacher's, by prompt.
        pattern: A regular expression; None leaves every answer.
    """
    if pattern is None:
        return answers
    return {
        prompt: replace(answer, text="") if re.search(pattern, answer.text) else answer
        for prompt, answer in answers.items()
    }


def answered(
    prompts: tuple[Prompt, ...], answers: Mapping[str, Answer]
) -> list[tuple[str, str, bool]]:
    """Prompt, answer and whether it ended; answers that refuse are left out."""
    found = [answers[p.text] for p in prompts]
    return [(a.prompt, a.text, a.ended) for a in found if a.text and refusal_rate([a.text]) == 0]
