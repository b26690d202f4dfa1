"""Does an answer belong to its prompt? Judged by the untouched model, without a known truth.

An answer a to prompt x is relevant if the untouched model finds it likelier after x than after
each of nine other prompts of the same kind, and likelier than without any request:

    log p(a | x) > log p(a | x_j), j = 1 … 9,   and   log p(a | x) > log p(a | "Hello.").

The second bound is the correction for the answer's prior: an answer that fits everywhere fails.
By chance an answer passes the first one in a tenth of all cases.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from conceptbasis.data.prompts import Prompt
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.likelihood import answer_log_likelihoods

N_OTHERS = 9
NO_REQUEST = "Hello."


def judge_relevance(
    loaded: LoadedModel, prompts: Sequence[Prompt], answers: Sequence[str]
) -> list[bool | None]:
    """Whether each answer is about its prompt; None for an empty one.

    Args:
        loaded: The untouched model.
        prompts: What was asked, and more of its kind.
        answers: What was answered to the first of them, in the same order.
    """
    asked, said = [], []
    read = [i for i, answer in enumerate(answers) if answer.strip()]
    for i in read:
        texts = [prompts[i].text, NO_REQUEST, *_others(prompts, i)]
        asked += texts
        said += [answers[i]] * len(texts)
    scores = iter(answer_log_likelihoods(loaded, asked, said))
    verdicts: list[bool | None] = [None] * len(answers)
    for i in read:
        own = next(scores)
        rest = [next(scores) for _ in range(1 + len(_others(prompts, i)))]
        verdicts[i] = own > max(rest)
    return verdicts


def _others(prompts: Sequence[Prompt], i: int) -> list[str]:
    """Nine other prompts about other things, those of the same kind first."""
    own = prompts[i]
    found = [p for p in prompts if p.text != own.text and (p.noun is None or p.noun != own.noun)]
    random.Random(own.text).shuffle(found)
    found.sort(key=lambda p: p.kind != own.kind)
    return [p.text for p in found[:N_OTHERS]]
