"""How long judged answers are where the settings do not say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from conceptbasis.config.run import RunConfig
from conceptbasis.study.answer_length import OPEN_LENGTH, warn_of_short_answers, with_answer_length


def length_warning(config, suite):
    """What is said, None for nothing."""
    said: list[str] = []
    warn_of_short_answers(config, suite, SimpleNamespace(say=said.append))
    return said[0] if said else None


def in_the_open(suite):
    """The suite with one held-out positive prompt whose true answer is not known."""
    own = suite.prompts["eval_harmful"]
    prompts = {**suite.prompts, "eval_harmful": (*own[1:], replace(own[0], answer=None))}
    return replace(suite, prompts=prompts)


def test_in_a_closed_world_answers_are_short(ready):
    config = RunConfig()
    assert with_answer_length(config, ready.suite) is config
    assert length_warning(config, ready.suite) is None


def test_elsewhere_they_are_long_unless_a_length_is_given(ready):
    suite = in_the_open(ready.suite)
    assert with_answer_length(RunConfig(), suite).evaluate.max_new_tokens == OPEN_LENGTH
    given = RunConfig.model_validate({"evaluate": {"max_new_tokens": 16}})
    assert with_answer_length(given, suite) is given


def test_short_ones_are_warned_of(ready):
    suite = in_the_open(ready.suite)
    short = RunConfig.model_validate({"evaluate": {"max_new_tokens": 63}})
    long = RunConfig.model_validate({"evaluate": {"max_new_tokens": 64}})
    warning = length_warning(short, suite)
    assert warning is not None
    assert "63 tokens" in warning
    assert length_warning(long, suite) is None
    assert length_warning(with_answer_length(RunConfig(), suite), suite) is None
