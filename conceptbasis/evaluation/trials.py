"""What is measured: every method of a run, one trial a draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from conceptbasis.behaviors import Behavior
from conceptbasis.config.evaluation import EvaluateSection
from conceptbasis.data.prompts import Prompt, PromptSuite
from conceptbasis.methods import METHODS, chosen_baselines
from conceptbasis.methods.base import LeftOut, Method, Treatment
from conceptbasis.methods.bridge import Bridge
from conceptbasis.methods.fitting import treatments

Sets = Mapping[str, Sequence[Prompt]]
"""Prompts by the short name of their set."""


@dataclass(frozen=True)
class Trial:
    """One draw of a condition: what is done to the target, and on which prompts it is measured.

    Args:
        name: Of the condition.
        draw: Number of the random draw.
        treatment: What is done.
        n_prompts: How many prompts of each set are used, None for all.
        in_full: Sets that are used in full all the same.
        without: Sets that are not measured.
    """

    name: str
    draw: int = 0
    treatment: Treatment = field(default_factory=Treatment)
    n_prompts: int | None = None
    in_full: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def sets_of(behavior: Behavior) -> dict[str, str]:
    """Every set of an evaluation by its short name, that of the negative prompts among them."""
    sets = behavior.sets.evaluated
    known = behavior.sets.eval_negative in sets.values()
    return sets if known else {**sets, "negative": behavior.sets.eval_negative}


def short_name(behavior: Behavior, prompt_set: str) -> str:
    """The short name of a set of an evaluation."""
    return next(name for name, own in sets_of(behavior).items() if own == prompt_set)


def prompts_by_set(behavior: Behavior, suite: PromptSuite, n_prompts: int | None) -> Sets:
    """The prompts of every set that the suite has, at most some of each."""
    sets = sets_of(behavior)
    return {name: suite[own][:n_prompts] for name, own in sets.items() if suite.has(own)}


def prompts_of(sets: Sets, trial: Trial) -> Sets:
    """The prompts that a trial is measured on, by set."""
    return {
        name: prompts if name in trial.in_full else prompts[: trial.n_prompts]
        for name, prompts in sets.items()
        if name not in trial.without
    }


def all_trials(
    bridge: Bridge, section: EvaluateSection, behavior: Behavior
) -> tuple[list[Trial], dict[str, str]]:
    """Every trial of an evaluation, and the methods that have none with the reason.

    Args:
        bridge: Over the results of all stages, with the target's own directions.
        section: Which baselines and how many draws.
        behavior: Says where capability is measured.
    """
    found: list[Trial] = []
    left_out: dict[str, str] = {}
    for method in evaluated_methods(section):
        n_draws, outline = outline_of(method, section, behavior)
        try:
            for draw, treatment in enumerate(islice(treatments(bridge, method), n_draws)):
                found.append(replace(outline, draw=draw, treatment=treatment))
        except LeftOut as error:
            left_out[method.name] = str(error)
    return found, left_out


def outline_of(method: Method, section: EvaluateSection, behavior: Behavior) -> tuple[int, Trial]:
    """How many draws of a method an evaluation asks for, and the prompts of each."""
    if method.draws is None:
        return 1, Trial(method.name)
    capability = {short_name(behavior, own) for own in behavior.sets.capability.values()}
    in_full = tuple(sorted(capability)) if method.sets_range else ()
    n_draws = method.draws(section)
    return n_draws, Trial(method.name, n_prompts=section.n_control_prompts, in_full=in_full)


def evaluated_methods(section: EvaluateSection) -> list[Method]:
    """The methods that a run measures, in the order of display."""
    baselines = {method.name for method in chosen_baselines(section.baselines)}
    return [
        method
        for method in METHODS.values()
        if (method.role != "baseline" or method.name in baselines)
        and (method.role != "control" or section.controls)
    ]


def trials_at_equal_damage(bridge: Bridge, section: EvaluateSection) -> list[Trial]:
    """One draw of each method that a curve compares; those without an edit are left out."""
    found = []
    for method in evaluated_methods(section.model_copy(update={"controls": True})):
        if not method.at_equal_damage:
            continue
        try:
            drawn = islice(treatments(bridge, method), 1)
            found += [Trial(method.name, treatment=treatment) for treatment in drawn]
        except LeftOut:
            continue  # said by the evaluation
    return found
