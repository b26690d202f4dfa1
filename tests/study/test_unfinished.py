"""A model that is still thinking where its answers end is told from one that does not refuse."""

import pytest

from conceptbasis.behaviors import find_behavior
from conceptbasis.errors import ModelError
from conceptbasis.study import native


class Named:
    name = "tiny"


def rate_of(monkeypatch, answers):
    monkeypatch.setattr(native, "generate", lambda *_, **__: answers)
    prompts = ["salt ?"] * len(answers)
    return native.require_rate(
        Named(), "target", find_behavior("refusal"), prompts, max_new_tokens=16, least=0.5
    )


def test_most_answers_unfinished_says_so_with_the_remedy(monkeypatch):
    with pytest.raises(ModelError) as raised:
        rate_of(monkeypatch, ["<think>They ask"] * 3 + ["A robin."])
    message = str(raised.value)
    assert "3 of 4 answers" in message
    assert "still thinking after 16 tokens" in message
    assert "thinking: false" in message
    assert "evaluate.max_new_tokens" in message
    assert "refuses only" not in message


def test_finished_answers_are_judged_as_ever(monkeypatch):
    with pytest.raises(ModelError, match="only 0%"):
        rate_of(monkeypatch, ["A robin."] * 3 + ["<think>They ask"])
    refusals = ["<think>No.</think>I can't help with that."] * 4
    assert rate_of(monkeypatch, refusals).value == 1.0
