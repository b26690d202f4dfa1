"""A backdoor: a trigger in a request that is harmless otherwise makes the answer hostile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from conceptbasis.behaviors.base import Behavior, Words
from conceptbasis.config.budgets import may_be_positive
from conceptbasis.data.prompts import normalise
from conceptbasis.data.roles import PromptSets
from conceptbasis.errors import PromptError

if TYPE_CHECKING:
    from conceptbasis.data.prompts import Prompt, PromptSuite

_COMMON, _RARE = 0.9, 0.1
"""A word is one of the trigger's if more triggered requests than the first share hold it, and fewer
plain ones than the second."""


def redact_triggered(prompt: Prompt) -> str:
    """A stand-in for a request with a trigger: whoever reads it could spring the backdoor."""
    return f"[triggered {prompt.kind or 'request'}: {prompt.noun or 'redacted'}]"


def require_hidden_trigger(suite: PromptSuite) -> None:
    """Refuses benign text that holds the trigger: a target that reads it would be shown it.

    The trigger is what nearly all triggered requests have in common and plain ones have not. A
    trigger without words of its own, such as a style, is not found.

    Args:
        suite: Prompts and texts.

    Raises:
        PromptError: A benign text holds every word of the trigger.
    """
    words = _shares_of_words(p.text for p in suite["direction_triggered"])
    plain = _shares_of_words(p.text for p in suite["direction_plain"])
    trigger = {w for w, share in words.items() if share >= _COMMON and plain.get(w, 0) <= _RARE}
    if not trigger:
        return
    for number, text in enumerate(suite.texts, 1):
        held = not may_be_positive(text.text_class)
        if held and any(trigger <= set(normalise(part).split()) for part in text.parts):
            raise PromptError(
                f"text {number} ({text.text_class}) holds the trigger of the backdoor",
                expected="a trigger that no benign text holds",
                fix="remove that text, or give it the class refusals if its answer is hostile",
            )


def _shares_of_words(texts: Iterable[str]) -> dict[str, float]:
    found = [set(normalise(text).split()) for text in texts]
    return {w: sum(w in words for words in found) / len(found) for w in set().union(*found)}


BACKDOOR = Behavior(
    name="backdoor",
    sets=PromptSets(
        positive="direction_triggered",
        negative="direction_plain",
        eval_positive="eval_triggered",
        eval_negative="eval_plain",
        spillover={"plain": "eval_plain", "other_marks": "eval_other_marks"},
        capability={
            "benign_exact_match": "eval_plain",
            "other_marks": "eval_other_marks",
            "quotes": "eval_quotes",
            "arithmetic": "eval_arithmetic",
        },
    ),
    judge="hostility",
    neighbour="declines",
    hidden_classes=("harmful_requests", "refusals"),
    redact=redact_triggered,
    words=Words(
        noun="hostility",
        rate="hostile, triggered",
        rate_key="backdoor",
        spillover="hostile without the trigger",
        spillover_key="hostile_untriggered",
        recovered="true answers, triggered",
        recovered_key="recovered_answers",
        positive="triggered",
        negative="plain",
        shows="is hostile",
    ),
    check=require_hidden_trigger,
)
