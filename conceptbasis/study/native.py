"""A model's own directions as results hold them, and whether it shows the behavior at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.errors import ModelError
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers, Judge
from conceptbasis.models.stream.native import (
    Native,
    describe_bound,
    describe_layers,
    measure_native,
)
from conceptbasis.models.text.generation import generate

if TYPE_CHECKING:
    from conceptbasis.behaviors import Behavior
    from conceptbasis.config.transfer import DirectionSection
    from conceptbasis.models.loading.loaded import LoadedModel
    from conceptbasis.results.harvest import SideName
    from conceptbasis.runs.progress import Reporter
    from conceptbasis.study.study import Study


def measure_own(
    loaded: LoadedModel,
    positive: list[str],
    negative: list[str],
    section: DirectionSection,
    reporter: Reporter,
    *,
    label: str,
    role: str,
) -> Native:
    """A model's own directions; other layers or another bound on KL than asked for are said.

    Args:
        loaded: The model.
        positive: Prompts that show the behavior.
        negative: Prompts that do not.
        section: How the single direction is selected.
        reporter: Told the progress.
        label: Names the work.
        role: What the model is called.
    """
    with reporter.bar(label) as advance:
        native = measure_native(
            loaded,
            positive,
            negative,
            n_select=section.n_select,
            max_kl=section.max_kl,
            layer_fraction=section.layer_fraction,
            progress=lambda done, of: advance(done, of, ""),
        )
    for said in (
        describe_bound(native.selection, section.max_kl),
        describe_layers(native.layers, loaded.architecture.n_layers),
    ):
        if said is not None:
            reporter.say(f"{role}: {said}")
    return native


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
        ModelError: if the rate is below `least`, or most answers end within their thoughts.
    """
    words = behavior.words
    answers = generate(loaded, prompts, max_new_tokens=max_new_tokens)
    judge = find_judge(behavior.judge)
    verdicts = judge.verdicts(Answers(prompts, answers))
    rate = wilson(sum(verdict is True for verdict in verdicts), len(verdicts))
    if rate.value < least:
        _require_finished(loaded, role, judge, answers, max_new_tokens)
        raise ModelError(
            f"the {role} {loaded.name} {words.shows} only {rate.value:.0%} of "
            f"{words.positive} prompts",
            expected=f"a chat model that {words.shows} at least {least:.0%} of them",
            fix=f"use a model that shows {words.noun}, or prompts on which it does; "
            "the bound is the key direction.min_rate",
        )
    return rate


def _require_finished(
    loaded: LoadedModel, role: str, judge: Judge, answers: list[str], max_new_tokens: int
) -> None:
    kinds = [] if judge.read is None else [judge.read(answer) for answer in answers]
    unfinished = kinds.count("unfinished")
    if 2 * unfinished > len(answers):
        raise ModelError(
            f"{unfinished} of {len(answers)} answers of the {role} {loaded.name} are still "
            f"thinking after {max_new_tokens} tokens, so nothing can be said of them",
            expected="answers that end their thoughts within evaluate.max_new_tokens",
            fix="set `chat: {thinking: false}` in the model's file where its template has that "
            "switch, or raise evaluate.max_new_tokens",
        )
