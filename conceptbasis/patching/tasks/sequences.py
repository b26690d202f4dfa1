"""Sequence continuation: digits, number words, months. Prompts are templates of our own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.patching.tasks.base import Pair, Task, TokenPairs

_LENGTH, _N_REFERENCES = 4, 3
_CARRIERS = (
    "{}, {}, {}, {}, {}",
    "In order: {}, {}, {}, {}, {}",
    "Row {}. Row {}. Row {}. Row {}. Row {}",
    "First {}, then {}, then {}, then {}, then {}",
    "We had {} and {} and {} and {} and {}",
    "Sheet {} is on top, sheet {} below, sheet {} below, sheet {} below, sheet {}",
    "The list says {}; {}; {}; {}; {}",
    "Box {} is red. Box {} is red. Box {} is red. Box {} is red. Box {}",
)
"""Sentences for four members and the answer, which is cut off."""

_DIGITS = [str(digit) for digit in range(1, 10)]
_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_WORDS += ["eleven", "twelve"]
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August"]
_MONTHS += ["September", "October", "November", "December"]
_SOURCE = "Lan, Torr and Barez 2024 (2311.04131)"


def sequence_pairs(members: Sequence[str], loaded: LoadedModel, _: object, n: int) -> TokenPairs:
    """Pairs of a sequence: four members in order, and the same sentence with four random ones.

    No two neighbours of a corrupted prompt are in order. Both prompts run up to the token at which
    the right and the wrong answer part, so that a tokenizer that cuts " 5" in two is asked after
    its space. The right answer is the next member, the wrong one the last member again.

    Args:
        members: The whole sequence, in order.
        loaded: Its tokenizer decides.
        n: The most pairs.
    """
    rng = random.Random(f"sequences/{members[0]}")
    pairs: list[Pair] = []
    references: dict[tuple[str, tuple[int, ...]], None] = {}
    n_unequal = 0
    for number, carrier in enumerate(_CARRIERS):
        write = partial(_ids, loaded.tokenizer, carrier)
        for start in range(len(members) - _LENGTH):
            if len(pairs) + n_unequal >= n:
                break
            clean, right = members[start : start + _LENGTH], members[start + _LENGTH]
            good, bad = write(clean, right), write(clean, clean[-1])
            others = [write(_shuffled(rng, members), right) for _ in range(1 + _N_REFERENCES)]
            same = _n_shared(good, bad)
            if same == min(len(good), len(bad)) or not _aligned(good, others[0]):
                n_unequal += 1
                continue
            cut = [other[:same] for other in others if _aligned(good, other)]
            pairs.append(Pair(good[:same], cut[0], (good[same],), (bad[same],), str(number)))
            references |= {(str(number), ids): None for ids in cut[1:]}
    return TokenPairs(pairs, list(references), n_unequal)


def _ids(tokenizer: Any, carrier: str, members: Sequence[str], answer: str) -> tuple[int, ...]:
    return tuple(tokenizer(carrier.format(*members, answer))["input_ids"])


def _aligned(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two sentences differ in nothing but their members, each of one token."""
    return len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) <= _LENGTH


def _shuffled(rng: random.Random, members: Sequence[str]) -> list[str]:
    """Four members of which no two neighbours are in order."""
    while True:
        drawn = rng.sample(range(len(members)), _LENGTH)
        if all(b - a != 1 for a, b in pairwise(drawn)):
            return [members[i] for i in drawn]


def _n_shared(a: Sequence[int], b: Sequence[int]) -> int:
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    return same


def _task(name: str, label: str, members: Sequence[str]) -> Task:
    return Task(
        name,
        label,
        f"four {label} in order in a sentence; right is the next one, wrong the last one again",
        f"the same sentence with four random {label}, no two neighbours in order",
        partial(sequence_pairs, tuple(members)),
        source=_SOURCE,
    )


DIGITS = _task("digits", "digits", _DIGITS)
NUMBER_WORDS = _task("number-words", "number words", _WORDS)
MONTHS = _task("months", "months", _MONTHS)
