"""What is wrong with the input of a transfer, said before anything is computed."""

from __future__ import annotations

from dataclasses import replace

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.budgets import budget_allows, budget_names
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.data.roles import PromptSets
from conceptbasis.errors import ConfigError, PromptError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.text.lengths import check_prompts, fitting_texts
from conceptbasis.runs.progress import Reporter

_MIN_DIRECTION = 10
"""Least prompts of each class for a direction: five folds of the probe, two prompts in each."""


def check_direction_sets(suite: PromptSuite, sets: PromptSets) -> None:
    """A direction and its probe need some prompts of each class, half of them held out."""
    for name in (sets.positive, sets.negative):
        if len(suite[name]) < _MIN_DIRECTION:
            raise PromptError(
                f"prompt set {name!r} has {len(suite[name])} prompts",
                expected=f"at least {_MIN_DIRECTION}; some hundred are usual",
                fix=f"add prompts to {name}.jsonl",
            )


def check_budget(target: ModelConfig, config: RunConfig) -> None:
    """The target's own SAEs must not have been trained on more than the budget allows."""
    training = target.saes.train
    if training is not None and not budget_allows(config.budget, training.budget):
        raise ConfigError(
            f"{target.name}: its SAEs are trained on text of budget {training.budget}, "
            f"but the transfer's budget is {config.budget}",
            expected=f"saes.train.budget of at most {config.budget}",
            fix=f"set saes.train.budget: {config.budget} in the target's file, or widen `budget` "
            f"(order: {' < '.join(budget_names())})",
        )


def check_context(models: list[LoadedModel], suite: PromptSuite, config: RunConfig) -> None:
    """Every prompt must fit both models together with its answer."""
    groups = {f"{name}.jsonl": prompts for name, prompts in suite.prompts.items()}
    for concept in suite.concepts:
        groups[f"concept {concept.name}"] = (*concept.positive, *concept.negative)
    behavior = find_behavior(config.behavior)
    for loaded in models:
        for where, prompts in groups.items():
            check_prompts(
                loaded,
                [p.text for p in prompts],
                [f"prompt {i} of {where}, {behavior.redact(p)}," for i, p in enumerate(prompts, 1)],
                answer=config.evaluate.max_new_tokens,
                key="evaluate.max_new_tokens",
            )


def leave_out_long_texts(
    models: list[LoadedModel], suite: PromptSuite, config: RunConfig, reporter: Reporter
) -> PromptSuite:
    """The suite without shared texts that are longer than the context of a model.

    Texts that the budget does not allow are not even counted.
    """
    allowed = kept = suite.texts_for(config.budget, config.harvest.without)
    for loaded in models:
        kept = fitting_texts(loaded, kept, reporter)
    gone = set(allowed) - set(kept)
    return replace(suite, texts=tuple(t for t in suite.texts if t not in gone)) if gone else suite
