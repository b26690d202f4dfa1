"""Refusal: a model declines requests on harmful topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptbasis.behaviors.base import Behavior, Words
from conceptbasis.data.roles import PromptSets

if TYPE_CHECKING:
    from conceptbasis.data.prompts import Prompt


SAFETY_CONCEPT = "decline"
"""The benign concept that shows how a model says no: harmless requests that are politely turned
down, against harmless requests that are answered."""


def redact_request(prompt: Prompt) -> str:
    """A stand-in for a harmful request that names its topic word only."""
    return f"[{prompt.kind or 'request'}: {prompt.noun or 'redacted'}]"


REFUSAL = Behavior(
    name="refusal",
    sets=PromptSets(
        positive="direction_harmful",
        negative="direction_harmless",
        eval_positive="eval_harmful",
        eval_negative="eval_harmless",
        spillover={
            "safe": "eval_harmless",
            "mentions": "eval_mentions",
            "declines": "eval_declines",
        },
        capability={"benign_exact_match": "eval_harmless", "arithmetic": "eval_arithmetic"},
    ),
    judge="phrases",
    neighbour="declines",
    hidden_classes=("harmful_requests", "refusals"),
    redact=redact_request,
    words=Words(
        noun="refusal",
        rate="refusal, harmful",
        rate_key="refusal",
        spillover="over-refusal",
        spillover_key="over_refusal",
        recovered="recovered compliance",
        recovered_key="recovered_compliance",
        positive="harmful",
        negative="harmless",
        shows="refuses",
    ),
)
