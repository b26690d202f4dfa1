"""A model's own directions as results hold them, and whether it shows the behavior at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.errors import ModelError
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers
from conceptbasis.models.text.generation import generate

if TYPE_CHECKING:
    from conceptbasis.behaviors import Behavior
    from conceptbasis.models.loading.loaded import LoadedModel
    from conceptbasis.results.harvest import SideName
    from conceptbasis.study.study import Study


def require_behavior(study: Study, side: SideName, prompts: list[str]) -> Interval:
    """The rate at which a side's model shows the behavior on positive prompts.

    Raises:
        ModelError: if it is below `direction.min_rate`.
    """
    return require_rate(
        study.side(side).loaded,
        side,
        study.behavior,
        prompts,
        max_new_tokens=study.config.evaluate.max_new_tokens,
        least=study.config.direction.min_rate,
    )


def require_rate(
    loaded: LoadedModel,
    role: str,
    behavior: Behavior,
    prompts: list[str],
    *,
    max_new_tokens: int,
    least: float,
) -> Interval:
    """The rate at which a model shows a behavior on positive prompts.

    Args:
        loaded: The model.
        role: What it is called in the error.
        behavior: The behavior.
        prompts: Positive prompts.
        max_new_tokens: Longest answer.
        least: Smallest rate with which there is something to transfer.

    Raises:
        ModelError: if the rate is below `least`.
    """
    words = behavior.words
    answers = generate(loaded, prompts, max_new_tokens=max_new_tokens)
    verdicts = find_judge(behavior.judge).verdicts(Answers(prompts, answers))
    rate = wilson(sum(verdict is True for verdict in verdicts), len(verdicts))
    if rate.value < least:
        raise ModelError(
            f"the {role} {loaded.name} {words.shows} only {rate.value:.0%} of "
            f"{words.positive} prompts",
            expected=f"a chat model that {words.shows} at least {least:.0%} of them",
            fix=f"use a model that shows {words.noun}, or prompts on which it does; "
            "the bound is the key direction.min_rate",
        )
    return rate
