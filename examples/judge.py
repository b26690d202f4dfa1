"""A judge in one file: an answer that opens with a word of regret shows the behavior."""

from __future__ import annotations

from conceptbasis.judges import register
from conceptbasis.judges.base import Answers, Judge, Verdict

OPENINGS = ("sorry", "i am sorry", "i regret", "unfortunately")


def verdicts(answers: Answers) -> list[Verdict]:
    """True for an opening of regret, None for an empty answer."""
    return [text.lower().lstrip().startswith(OPENINGS) if text.strip() else None
            for text in answers.answers]  # fmt: skip


register(Judge("regret", "words of regret", ("answers",), verdicts))
