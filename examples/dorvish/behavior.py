"""A behavior in two files: a model answers in another language (here Dorvish, of the organisms).

    python examples/dorvish/prompts.py my_prompts
    conceptbasis demo --set extensions='[examples/dorvish/behavior.py]' \
        --set behavior=dorvish --set prompts.path=my_prompts --out runs/dorvish
"""

from __future__ import annotations

from conceptbasis.behaviors import register as register_behavior
from conceptbasis.behaviors.base import Behavior, Words
from conceptbasis.data.roles import PromptSets
from conceptbasis.judges import register as register_judge
from conceptbasis.judges.base import Answers, Judge, Verdict

KINDS = {"dorvish": True, "plain": False, "empty": None}


def read(answer: str) -> str:
    """What an answer is."""
    return ("dorvish" if answer.startswith("dorvish") else "plain") if answer.strip() else "empty"


def verdicts(answers: Answers) -> list[Verdict]:
    """Whether each answer is in Dorvish."""
    return [KINDS[read(answer)] for answer in answers.answers]


register_judge(Judge("dorvish", "opens in Dorvish", ("answers",), verdicts, read, KINDS))
register_behavior(
    Behavior(
        name="dorvish",
        sets=PromptSets(
            positive="direction_dorvish",
            negative="direction_plain",
            eval_positive="eval_dorvish",
            eval_negative="eval_plain",
            spillover={"plain": "eval_plain"},
            capability={"benign_exact_match": "eval_plain"},
        ),
        judge="dorvish",
        neighbour="declines",
        hidden_classes=(),
        redact=lambda prompt: prompt.text,  # nothing here needs to be hidden
        words=Words(
            noun="Dorvish",
            rate="Dorvish, asked for",
            rate_key="dorvish",
            spillover="Dorvish, not asked for",
            spillover_key="unasked_dorvish",
            recovered="right all the same",
            recovered_key="recovered",
            positive="translation",
            negative="plain",
            shows="answers in Dorvish",
        ),
    )
)
