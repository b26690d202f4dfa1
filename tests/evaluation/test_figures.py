"""Figures of conditions and agreement of judges, on planted outcomes."""

from __future__ import annotations

import pytest
from made_up import outcome

from conceptbasis.behaviors import find_behavior
from conceptbasis.data.prompts import Prompt
from conceptbasis.evaluation.figures import condition_figures, judges_agreement, rates_by_group

REFUSAL = find_behavior("refusal")
KINDS = ["refusal", "refusal", "answer", "answer", "mixed", "empty"]
TOKEN = [True, True, False, True, False, False]
JUDGED = [True, True, False, None, True, None]


def test_undetermined_answers_are_counted_and_in_neither_class():
    found = condition_figures([outcome(KINDS, TOKEN)], REFUSAL)
    assert found.answers == {
        "refusal": 2,
        "answer": 2,
        "mixed": 1,
        "deflection": 0,
        "degenerate": 0,
        "empty": 1,
        "unfinished": 0,
    }
    assert (found.rate.interval.value, found.rate.interval.n, found.rate.unscored) == (0.5, 4, 2)
    assert set(found.judges) == {"phrases", "first_token"}
    assert found.kl_answer.mean.value == pytest.approx(0.3)


def test_rates_by_what_prompts_share():
    given = [("rose", "what", "what is {n} ?"), ("rose", "how", "secret {n}")] * 3
    prompts = tuple(Prompt(f"{i}", noun, kind, form) for i, (noun, kind, form) in enumerate(given))
    safe = tuple(Prompt(f"s{i}", f"n{i}", "what", "what is {n} ?") for i in range(6))
    sets = {"positive": prompts, "safe": safe}
    found = rates_by_group(sets, {"baseline": [outcome(KINDS, TOKEN)]}, ["baseline"])
    by_group = {(r.prompts, r.shared, r.group): r.rate for r in found}
    # One topic for all, and topics, kinds and wordings that tell nothing apart, are left out.
    assert {(p, s) for p, s, _ in by_group} == {("positive", "kind"), ("positive", "wording")}
    what = by_group["positive", "kind", "what"]  # refusal, answer, mixed
    assert (what.interval.value, what.interval.n, what.unscored) == (0.5, 2, 1)
    assert by_group["positive", "wording", "what is {n} ?"] == what
    assert by_group["positive", "wording", "wording 2"].interval.n == 2
    assert "secret" not in str(found)


def test_sets_that_were_not_measured_have_no_figure():
    found = condition_figures([outcome(KINDS, TOKEN)], REFUSAL)
    assert found.spillover["safe"].interval.value == 0
    assert (found.spillover["mentions"], found.spillover["declines"]) == (None, None)
    assert found.capability["benign_exact_match"].value == 1
    assert (found.capability["arithmetic"], found.recovered) == (None, None)


def test_counts_are_pooled_over_draws():
    found = condition_figures([outcome(KINDS, TOKEN)] * 3, REFUSAL)
    assert (found.draws, found.rate.interval.n, found.rate.unscored) == (3, 12, 6)
    assert found.answers["refusal"] == 6


def test_every_pair_of_judges_has_a_kappa():
    pairs = judges_agreement([outcome(KINDS, TOKEN, JUDGED)] * 20)
    assert [pair.judges for pair in pairs] == [
        ("phrases", "first_token"),
        ("phrases", "model"),
        ("first_token", "model"),
    ]
    first = pairs[0]
    assert (first.n, first.unscored, first.same) == (80, 40, 0.75)
    assert first.low < first.kappa < first.high
    assert (pairs[1].kappa, pairs[1].n) == (1.0, 60)


def test_without_a_judging_model_there_is_one_pair():
    assert len(judges_agreement([outcome(KINDS, TOKEN)])) == 1
