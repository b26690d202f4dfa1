"""Figures of conditions and agreement of judges, on planted outcomes."""

from __future__ import annotations

import pytest

from conceptbasis.evaluation.condition_figures import judges_agreement, summarise
from conceptbasis.evaluation.measure import Outcome


def outcome(kinds, token, judged=()):
    n = len(kinds)
    return Outcome(
        kinds={"harmful": kinds, "safe": ["answer"] * n},
        correct={"harmful": [None] * n, "safe": [True] * n},
        judged=list(judged),
        behavior_token=token,
        kl=[0.1] * n,
        answer_kl=[0.2, 0.4],
        nll=(10.0, 5),
        edited={"stream": [1, 1]},
        answers=[],
    )


KINDS = ["refusal", "refusal", "answer", "answer", "mixed", "empty"]
TOKEN = [True, True, False, True, False, False]
JUDGED = [True, True, False, None, True, None]


def test_undetermined_answers_are_counted_and_in_neither_class():
    found = summarise([outcome(KINDS, TOKEN)])
    assert found["answers"] == {
        "refusal": 2,
        "answer": 2,
        "mixed": 1,
        "degenerate": 0,
        "empty": 1,
        "unfinished": 0,
    }
    assert (found["refusal"]["rate"], found["refusal"]["n"], found["refusal"]["unscored"]) == (
        0.5,
        4,
        2,
    )
    assert set(found["judges"]) == {"phrases", "refusal_tokens"}
    assert found["kl_answer"]["mean"] == pytest.approx(0.3)


def test_every_pair_of_judges_has_a_kappa():
    pairs = judges_agreement([outcome(KINDS, TOKEN, JUDGED)] * 20)
    assert [pair["judges"] for pair in pairs] == [
        ["phrases", "refusal_tokens"],
        ["phrases", "model"],
        ["refusal_tokens", "model"],
    ]
    first = pairs[0]
    assert (first["n"], first["unscored"], first["same"]) == (80, 40, 0.75)
    assert first["low"] < first["kappa"] < first["high"]
    assert (pairs[1]["kappa"], pairs[1]["n"]) == (1.0, 60)


def test_without_a_judging_model_there_is_one_pair():
    assert len(judges_agreement([outcome(KINDS, TOKEN)])) == 1
