"""How long answers are that are judged, where the settings do not say."""

from __future__ import annotations

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.runs.progress import Reporter

OPEN_LENGTH = 128
"""Tokens of an answer whose truth is not known: a request may be turned down after some words."""

_SHORT = 64


def with_answer_length(config: RunConfig, suite: PromptSuite) -> RunConfig:
    """The settings with `evaluate.max_new_tokens` as it fits the prompts, where it is not given.

    In a closed world answers are short and the default holds. Elsewhere it is `OPEN_LENGTH`.

    Args:
        config: As it was given.
        suite: The prompts, with their true answers where the world has them.
    """
    if "max_new_tokens" in config.evaluate.model_fields_set or not _is_open(config, suite):
        return config
    evaluate = config.evaluate.model_copy(update={"max_new_tokens": OPEN_LENGTH})
    return config.model_copy(update={"evaluate": evaluate})


def warn_of_short_answers(config: RunConfig, suite: PromptSuite, reporter: Reporter) -> None:
    """Says what short answers may hide; nothing where they are long enough or the world is closed.

    Args:
        config: With the length that is used.
        suite: The prompts.
        reporter: Told the warning.
    """
    n = config.evaluate.max_new_tokens
    if n < _SHORT and _is_open(config, suite):
        reporter.say(
            f"note: answers are judged at {n} tokens; a refusal that comes later is not seen "
            f"(evaluate.max_new_tokens: {_SHORT} or more)"
        )


def _is_open(config: RunConfig, suite: PromptSuite) -> bool:
    judged = suite[find_behavior(config.behavior).sets.eval_positive]
    return any(prompt.answer is None for prompt in judged)
