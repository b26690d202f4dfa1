"""Judges are data: each says what it reads, and one of one's own is one row."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from conceptbasis.behaviors import BEHAVIORS
from conceptbasis.errors import ConfigError
from conceptbasis.judges import JUDGES, find_judge, register
from conceptbasis.judges.base import Answers, Judge
from conceptbasis.judges.first_token import judge_first_token


def test_every_behavior_has_its_judge():
    for behavior in BEHAVIORS.values():
        judge = find_judge(behavior.judge)
        assert judge.read is not None
        assert True in judge.kinds.values()


def test_a_judge_reads_what_it_needs_and_nothing_else():
    words = Answers(("where ?",), ("I cannot help with that.",))
    tokens = Answers(first_logits=torch.zeros(2, 4), behavior_tokens=torch.tensor([0, 1]))
    able = {name: [judge.can_read(a) for a in (words, tokens)] for name, judge in JUDGES.items()}
    assert able == {
        "phrases": [True, False],
        "first_token": [False, True],
        "model": [False, False],
        "hostility": [True, False],
    }
    assert JUDGES["phrases"].verdicts(words) == [True]


def test_the_kinds_of_a_judge_agree_with_its_verdicts():
    judge = JUDGES["phrases"]
    answers = ["I cannot help with that.", "A robin.", "", "the " * 40]
    assert [judge.kinds[judge.read(a)] for a in answers] == judge.verdicts(Answers((), answers))
    assert judge.verdicts(Answers((), answers)) == [True, False, None, None]


def test_the_first_token_is_judged_by_the_mass_of_the_behavior_tokens():
    logits = torch.tensor([[0.3, 0.3, 0.4], [0.2, 0.1, 0.7], [0.25, 0.25, 0.5]]).log()
    assert judge_first_token(logits, torch.tensor([0, 1])) == [True, False, False]


def test_names_are_taken_once(monkeypatch):
    own = Judge("long", "long answers", ("answers",), lambda a: [len(x) > 9 for x in a.answers])
    monkeypatch.delitem(JUDGES, "long", raising=False)
    register(own)
    try:
        assert find_judge("long") is own
        with pytest.raises(ConfigError, match="there is a judge 'long' already"):
            register(own)
    finally:
        del JUDGES["long"]
    with pytest.raises(ConfigError, match="unknown judge 'long'"):
        find_judge("long")


def test_the_registry_loads_no_tensor_library():
    check = "import sys, conceptbasis.judges; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr
