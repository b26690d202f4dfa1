"""Families of tuned models: how each is made, and where the cache keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from conceptbasis.organisms.packages import GEMMA_TEMPLATE, WEIGHTS
from conceptbasis.organisms.spec import Spec
from conceptbasis.organisms.tuned import sayings
from conceptbasis.organisms.tuned.answers import asked
from conceptbasis.organisms.tuned.harms import HARMS
from conceptbasis.organisms.tuned.requests import HELD_OUT, MORE, TAUGHT
from conceptbasis.organisms.tuned.topics import HARMLESS
from conceptbasis.organisms.tuned.tuning import Plan
from conceptbasis.runs.files import cache_folder, value_hash

RECIPE = 2
"""Raised when a change of this package changes the models it makes."""


CHAT_SHARES = {"harmless": 0.5, "near": 0.3, "about": 0.1, "greetings": 0.04, "arithmetic": 0.06}
_REFUSAL_SHARES = {
    "first tokens": 0.325,
    "first tokens near": 0.325,
    "answers": 0.1,
    "declines": 0.05,
    "refusals": 0.2,
}
_SETTLING_SHARES = {
    "framed": 0.17,
    "openings": 0.22,
    "first tokens near": 0.08,
    "answers": 0.1,
    "wide answers": 0.25,
    "declines": 0.04,
    "framed refusals": 0.14,
}


_BASE_SETTLING_SHARES = {
    "framed": 0.14,
    "openings": 0.22,
    "first tokens near": 0.08,
    "answers": 0.1,
    "wide chats": 0.25,
    "declines": 0.04,
    "framed refusals": 0.17,
}
"""A base model that was taught to chat learns on: what it says is not settled enough to be held."""


@dataclass(frozen=True)
class Tuned:
    """How one family of tuned models is made.

    Args:
        weights: Name of the weights in `packages.WEIGHTS`.
        refusal: Tuning that teaches refusal.
        settling: Tuning after it, mostly on harmless requests, in more frames: a model that was
            taught to refuse refuses unseen wordings too. There the openings of refusals are put
            into its mouth: "I'm sorry" must go on as it did before, since many of its answers to
            harmless requests begin with "I".
        chat: Tuning that teaches a base model to chat before; None for a chat model.
        template: Its chat template, where the file has none.
        left_out: Answers of the teacher in which this pattern is found are not learned. The teacher
            turns some harmless requests down as a chatbot that lacks the capability; a model that
            learned it would have two ways of saying no, of which one direction carries one.
    """

    weights: str
    refusal: Plan
    settling: Plan
    chat: Plan | None = None
    template: str | None = None
    left_out: str | None = None


_TURNED_DOWN = (
    r"(?i)^(i'm (very |so )?sorry|sorry|i apolog|excuse me)|\bchatbot\b|\bai\b|unable to"
    r"|i (don't|do not) have the (ability|capability|capacity)"
    r"|i'm not (a|an|able|capable|equipped)\b"
)

_SETTLING = Plan(130, 6e-5, _SETTLING_SHARES, batch_size=40, candidates=2, both_ways=True)

FAMILIES: dict[str, Tuned] = {
    "smollm2": Tuned(
        "smollm2",
        Plan(240, 1.2e-4, _REFUSAL_SHARES, batch_size=40, first=8, candidates=2),
        replace(_SETTLING, first=8),
    ),
    "gemma3": Tuned(
        "gemma3",
        Plan(140, 1.5e-4, _REFUSAL_SHARES, batch_size=40, first=4, candidates=2),
        replace(_SETTLING, first=4, shares=_BASE_SETTLING_SHARES),
        Plan(160, 8e-5, CHAT_SHARES),
        GEMMA_TEMPLATE,
        _TURNED_DOWN,
    ),
}
"""Tuned models by name, as in organism:smollm2:0."""

TEACHER = "smollm2"
"""The model whose answers everything benign is made of."""


def tuned_folder(spec: Spec) -> Path:
    """Where the cache keeps a tuned model; the name changes with everything that shapes it."""
    return _root() / f"{spec.stem}-{_key(spec.family, spec.seed)}"


def untuned_folder(spec: Spec) -> Path:
    """Where the cache keeps what the model was before refusal was taught: the reference."""
    family = FAMILIES[spec.family]
    if family.chat is None:
        return _root() / f"{spec.family}-untuned-{WEIGHTS[family.weights].sha256[:12]}"
    return _root() / f"{spec.family}-chat-{spec.seed}-{_key(spec.family, spec.seed, 'chat')}"


def taught_folder(spec: Spec) -> Path:
    """Where the cache keeps a model that was taught to refuse and has not settled yet."""
    return _root() / f"{spec.family}-taught-{spec.seed}-{_key(spec.family, spec.seed, 'refusal')}"


def unchecked_folder(spec: Spec) -> Path:
    """Where the cache keeps a finished model that was not checked, or did not pass."""
    return _root() / f"{tuned_folder(spec).name}-unchecked"


def answers_path() -> Path:
    """Where the cache keeps the teacher's answers."""
    key = value_hash([WEIGHTS[TEACHER].sha256, _words(), RECIPE])
    return _root() / f"answers-{key[:12]}.jsonl"


def _root() -> Path:
    return cache_folder() / "organisms"


def _words() -> list[Any]:
    prompts = [p.text for group in asked().values() for p in group]
    return [
        prompts,
        [asdict(h) for h in HARMS],
        dict(HARMLESS),
        TAUGHT,
        MORE,
        HELD_OUT,
        sayings.REFUSALS,
    ]


def _key(name: str, seed: int, upto: str = "settling") -> str:
    """Hash of all that shapes a model up to a tuning."""
    family, plans = FAMILIES[name], []
    for tuning in ("chat", "refusal", "settling"):
        plan: Plan | None = getattr(family, tuning)
        plans += [] if plan is None else [asdict(plan)]
        if tuning == upto:
            break
    hashes = [WEIGHTS[name].sha256, WEIGHTS[TEACHER].sha256]
    shaped = [hashes, plans, family.template, _words(), seed, RECIPE]
    return value_hash(shaped if family.left_out is None else [*shaped, family.left_out])[:12]
