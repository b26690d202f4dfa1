"""Prompts of the tasks: what they say, how they align in tokens, and what is left out."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace

import pytest

from conceptbasis.behaviors import BEHAVIORS
from conceptbasis.errors import ConfigError
from conceptbasis.patching.tasks import TASKS, find_task

DIGITS = [str(d) for d in range(1, 10)]
WORDS = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905


class Tokenizer:
    """Cuts a text by a pattern; pieces that were not seen get the next number."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.known = pattern, ["<s>"]

    def __call__(self, text: str) -> dict[str, list[int]]:
        pieces = ["<s>", *re.findall(self.pattern, text)]
        self.known += [p for p in dict.fromkeys(pieces) if p not in self.known]
        return {"input_ids": [self.known.index(p) for p in pieces]}

    def read(self, ids) -> str:
        return "".join(self.known[i] for i in ids[1:])


WHOLE = r" ?\w+| ?[^\w\s]"
APART = r"\w+|\s|[^\w\s]"
CUT = r" ?(?:sev|en|elev)| ?\w+?(?=sev|en\b|elev)| ?\w+| ?[^\w\s]"


def pairs_of(name: str, pattern: str, n: int = 64):
    tokenizer = Tokenizer(pattern)
    return tokenizer, find_task(name).pairs(SimpleNamespace(tokenizer=tokenizer), None, n)


@pytest.mark.parametrize("pattern", [WHOLE, APART])
@pytest.mark.parametrize(("name", "members"), [("digits", DIGITS), ("number-words", WORDS)])
def test_clean_prompts_are_in_order_and_corrupted_ones_are_not(name, members, pattern):
    tokenizer, given = pairs_of(name, pattern)
    assert len(given.pairs) >= 30
    assert given.n_unequal == 0
    for pair in given.pairs:
        clean, corrupted = (
            [w for w in re.findall(r"\w+", tokenizer.read(ids)) if w in members]
            for ids in (pair.clean, pair.corrupted)
        )
        places = [members.index(w) for w in clean]
        assert all(b - a == 1 for a, b in pairwise(places))
        assert len(places) == 4
        wrong_places = [members.index(w) for w in corrupted]
        assert len(wrong_places) == 4
        assert not any(b - a == 1 for a, b in pairwise(wrong_places))
        assert tokenizer.known[pair.right[0]].strip() == members[places[-1] + 1]
        assert tokenizer.known[pair.wrong[0]].strip() == clean[-1]
        assert len(pair.clean) == len(pair.corrupted)
        assert sum(a != b for a, b in zip(pair.clean, pair.corrupted, strict=True)) <= 4


def test_a_space_that_is_a_token_of_its_own_ends_the_prompt():
    tokenizer, given = pairs_of("digits", APART)
    assert all(tokenizer.known[p.clean[-1]] == " " for p in given.pairs)
    tokenizer, given = pairs_of("digits", WHOLE)
    assert not any(tokenizer.known[p.clean[-1]] == " " for p in given.pairs)  # the control


def test_members_of_several_tokens_are_left_out_and_counted():
    _, whole = pairs_of("number-words", WHOLE)
    _, cut = pairs_of("number-words", CUT)
    assert whole.n_unequal == 0 < cut.n_unequal
    assert len(cut.pairs) + cut.n_unequal == len(whole.pairs)


def test_references_have_the_shape_of_a_pair():
    _, given = pairs_of("months", WHOLE)
    shapes = {(p.shape, len(p.clean)) for p in given.pairs}
    assert {(shape, len(ids)) for shape, ids in given.references} <= shapes
    clean = {p.clean for p in given.pairs}
    assert not clean & {ids for _, ids in given.references}


def test_every_behavior_is_a_task_and_an_unknown_one_is_an_error():
    assert set(BEHAVIORS) <= set(TASKS)
    assert {"digits", "number-words", "months"} <= set(TASKS)
    with pytest.raises(ConfigError, match="unknown task 'weekdays'"):
        find_task("weekdays")
