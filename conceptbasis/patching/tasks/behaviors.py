"""A behavior as a task: a prompt that shows it against its nearest neighbour that does not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from conceptbasis.behaviors import find_behavior
from conceptbasis.behaviors.base import Behavior
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.errors import PromptError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.first_token import find_behavior_tokens
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.patching.tasks.base import Pair, Task, TokenPairs

_N_OPENINGS = 96
"""Prompts of each direction set from which openings are read."""


def behavior_pairs(name: str, loaded: LoadedModel, suite: PromptSuite | None, n: int) -> TokenPairs:
    """Held-out prompts that show a behavior, each with the nearest of the others.

    Nearest is the prompt of equal length with the most equal tokens at equal places, among
    held-out negative prompts and those where the behavior must not show. Right are the first tokens
    that positive prompts of the direction sets make likelier than negative ones, wrong the reverse.

    Args:
        name: Name of the behavior.
        loaded: The model.
        suite: Prompts of the behavior.
        n: The most pairs.

    Raises:
        PromptError: No suite.
    """
    if suite is None:
        raise PromptError(
            f"no prompts for the task {name}",
            expected="a prompt suite of that behavior",
            fix="set prompts.world or prompts.path",
        )
    sets = find_behavior(name).sets
    right, wrong = _openings(loaded, suite, name)
    others = [p.text for key in (sets.eval_negative, *sets.spillover.values()) for p in suite[key]]
    positive = [p.text for p in suite[sets.eval_positive]]
    loaded.show([*positive, *others])
    rows = prompt_ids(loaded.tokenizer, positive)
    pool = list(dict.fromkeys(map(tuple, prompt_ids(loaded.tokenizer, others))))
    pairs: list[Pair] = []
    n_unequal = 0
    for row in rows:
        if len(pairs) == n:
            break
        near = _nearest(tuple(row), pool)
        if near is None:
            n_unequal += 1
            continue
        pairs.append(Pair(tuple(row), near, right, wrong))
    return TokenPairs(pairs, [("", ids) for ids in pool], n_unequal)


def _openings(
    loaded: LoadedModel, suite: PromptSuite, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sets = find_behavior(name).sets
    texts = [[p.text for p in suite[key]][:_N_OPENINGS] for key in (sets.positive, sets.negative)]
    positive, negative = (first_token_logits(loaded, some) for some in texts)
    right = find_behavior_tokens(positive, negative).tolist()
    wrong = find_behavior_tokens(negative, positive).tolist()
    return tuple(right), tuple(t for t in wrong if t not in right)


def _nearest(row: tuple[int, ...], pool: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    alike = [ids for ids in pool if len(ids) == len(row)]
    if not alike:
        return None
    return max(alike, key=lambda ids: sum(a == b for a, b in zip(ids, row, strict=True)))


def task_of(behavior: Behavior) -> Task:
    """The task of a registered behavior."""
    words = behavior.words
    return Task(
        behavior.name,
        words.noun,
        f"a held-out {words.positive} prompt",
        f"the nearest {words.negative} prompt of as many tokens",
        partial(behavior_pairs, behavior.name),
        behavior=behavior.name,
    )
