"""A behavior as a task: nearest neighbours of equal length, openings, and the gate."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import make_loaded

from conceptbasis.behaviors import REFUSAL
from conceptbasis.errors import PromptError
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.organisms.backdoor.suite import backdoor_suite
from conceptbasis.organisms.suite import build_suite
from conceptbasis.patching.tasks import find_task


@pytest.fixture(scope="module")
def loaded():
    torch.manual_seed(0)
    return make_loaded("llama")


def same(a, b) -> int:
    return sum(x == y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ["refusal", "backdoor"])
def test_each_prompt_has_its_nearest_neighbour_without_the_behavior(loaded, name):
    suite = build_suite() if name == "refusal" else backdoor_suite("word")
    task = find_task(name)
    given = task.pairs(loaded, suite, 12)
    assert len(given.pairs) == 12
    assert task.behavior == name
    pool = {ids for _, ids in given.references}
    for pair in given.pairs:
        assert len(pair.clean) == len(pair.corrupted)
        assert pair.clean != pair.corrupted
        alike = [ids for ids in pool if len(ids) == len(pair.clean)]
        assert pair.corrupted in alike
        assert same(pair.clean, pair.corrupted) == max(same(pair.clean, ids) for ids in alike)
        assert pair.right
        assert pair.wrong
        assert not set(pair.right) & set(pair.wrong)
    positive = prompt_ids(loaded.tokenizer, [p.text for p in suite[find_sets(name).eval_positive]])
    assert {p.clean for p in given.pairs} <= {tuple(row) for row in positive}
    assert not pool & {tuple(row) for row in positive}  # no neighbour shows the behavior


def find_sets(name):
    from conceptbasis.behaviors import find_behavior

    return find_behavior(name).sets


def test_prompts_without_a_neighbour_of_their_length_are_counted(loaded):
    suite = build_suite()
    one = suite[REFUSAL.sets.eval_negative][:1]
    names = (REFUSAL.sets.eval_negative, *REFUSAL.sets.spillover.values())
    few = dataclasses.replace(suite, prompts={**suite.prompts, **dict.fromkeys(names, one)})
    given = find_task("refusal").pairs(loaded, few, 1000)
    assert given.n_unequal > 0
    assert len(given.pairs) + given.n_unequal == len(suite[REFUSAL.sets.eval_positive])


def test_the_gate_is_told_before_the_model_reads(loaded):
    def gate(texts):
        raise PromptError("shut", expected="open", fix="open it")

    shut = dataclasses.replace(loaded, gate=gate)
    with pytest.raises(PromptError, match="shut"):
        find_task("refusal").pairs(shut, build_suite(), 4)


def test_a_behavior_without_prompts_is_an_error(loaded):
    with pytest.raises(PromptError, match="no prompts for the task refusal"):
        find_task("refusal").pairs(loaded, None, 4)
