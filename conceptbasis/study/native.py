"""A model's own directions as results hold them, and whether it shows the behavior at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptbasis.core.directions import difference
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.errors import ModelError
from conceptbasis.judges.phrases import judge_phrases
from conceptbasis.models.text.generation import generate
from conceptbasis.results.direction import Candidate, Selection

if TYPE_CHECKING:
    from conceptbasis.results.harvest import SideName
    from conceptbasis.study.study import Study


def require_behavior(study: Study, side: SideName, prompts: list[str]) -> Interval:
    """The rate at which a side's model shows the behavior on positive prompts.

    Raises:
        ModelError: if it is below `direction.min_rate`.
    """
    loaded, words = study.side(side).loaded, study.behavior.words
    answers = generate(loaded, prompts, max_new_tokens=study.config.evaluate.max_new_tokens)
    rate = wilson(sum(judge_phrases(a) is True for a in answers), len(answers))
    least = study.config.direction.min_rate
    if rate.value < least:
        raise ModelError(
            f"the {side} {loaded.name} {words.shows} only {rate.value:.0%} of "
            f"{words.positive} prompts",
            expected=f"a chat model that {words.shows} at least {least:.0%} of them",
            fix=f"use a model that shows {words.noun}, or prompts on which it does; "
            "the bound is the key direction.min_rate",
        )
    return rate


def describe_selection(selection: difference.Selection) -> Selection:
    """The selection table of a model, as results hold it."""
    table = tuple(
        Candidate(c.position, c.layer, c.refusal, c.steering, c.kl, c.reason)
        for c in selection.table
    )
    return Selection(
        selection.found, selection.position, selection.layer, dict(selection.rejected), table
    )
