"""Relevance: own answers pass, answers to other prompts and answers that fit everywhere fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from tiny import make_loaded

from conceptbasis.data.prompts import Prompt
from conceptbasis.evaluation import relevance
from conceptbasis.evaluation.relevance import N_OTHERS, NO_REQUEST, judge_relevance
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.models.text.likelihood import answer_log_likelihoods

PROMPTS = [Prompt(f"about {noun}", noun, "even" if i % 2 else "odd") for i, noun in
           enumerate("abcdefghijklmnopqrstuvwxyz")]  # fmt: skip


@pytest.fixture
def counted(monkeypatch):
    """A model that finds an answer likelier for each of its words that the prompt holds."""
    asked = []

    def score(_loaded, prompts, answers, skip):
        assert skip == 1
        asked.extend(zip(prompts, answers, strict=True))
        return [float(len(set(p.split()) & set(a.split()))) - 10 for p, a in asked[-len(prompts) :]]

    monkeypatch.setattr(relevance, "answer_log_likelihoods", score)
    return asked


def test_own_answers_pass_and_shuffled_ones_fail(counted):
    own = [f"{p.noun} is fine" for p in PROMPTS]
    assert judge_relevance(None, PROMPTS, own) == [True] * 26
    assert judge_relevance(None, PROMPTS, own[3:] + own[:3]) == [False] * 26


def test_an_answer_that_fails_early_is_not_read_after_all_prompts(counted):
    wrong, right = ["z is fine"] * 5, [f"{p.noun} is fine" for p in PROMPTS[:5]]
    judge_relevance(None, PROMPTS, wrong)
    early = len(counted)
    judge_relevance(None, PROMPTS, right)
    assert len(counted) - early == 5 * (2 + N_OTHERS)
    assert early == 5 * (2 + N_OTHERS - 6)


def test_an_answer_that_fits_everywhere_fails_and_an_empty_one_has_no_verdict(counted):
    answers = ["about this and that", " "] * 13
    assert judge_relevance(None, PROMPTS, answers) == [False, None] * 13


def test_an_answer_is_held_against_nine_prompts_of_its_kind_and_against_none(counted):
    judge_relevance(None, PROMPTS, ["a"])
    texts = [prompt for prompt, _ in counted]
    assert texts[:2] == ["about a", NO_REQUEST]
    assert len(set(texts[2:])) == len(texts[2:]) == N_OTHERS
    kinds = {p.text: p.kind for p in PROMPTS}
    assert {kinds[text] for text in texts[2:]} == {"odd"}


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_log_likelihoods_are_those_of_one_pass_a_row(name):
    loaded = make_loaded(name)
    prompts, answers = ["salt", "bread and salt", "water"], ["3", "", "salt and bread = 3"]
    found = answer_log_likelihoods(loaded, prompts, answers, batch_size=2)
    starts = prompt_ids(loaded.tokenizer, prompts)
    rows = prompt_ids(loaded.tokenizer, prompts, forced=answers)
    for value, start, row in zip(found, starts, rows, strict=True):
        with torch.no_grad():
            logs = loaded.model(torch.tensor([row])).logits[0].double().log_softmax(-1)
        own = [float(logs[i - 1, row[i]]) for i in range(len(start), len(row))]
        assert value == pytest.approx(sum(own), abs=1e-4)
        last = own
    later = answer_log_likelihoods(loaded, prompts, answers, skip=1)
    assert found[1] == 0
    assert later[0] == found[0]  # a single token counts all the same
    assert later[2] == pytest.approx(sum(last[1:]), abs=1e-4)
    assert later[2] != pytest.approx(found[2], abs=1e-2)


def test_without_an_answer_to_read_there_is_no_verdict():
    """A set that is refused throughout, judged by a real model."""
    assert judge_relevance(make_loaded("llama"), PROMPTS, ["", " "]) == [None, None]
