"""How far an edited model moves along answers that the untouched model gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.decoding import finite, last_logits
from conceptbasis.models.text.forced import encode_forced
from conceptbasis.models.text.generation import generate
from conceptbasis.models.text.wide_rows import kl_of_rows
from conceptbasis.results.evaluation import BatchFlips


def answer_kl(
    loaded: LoadedModel,
    prompts: list[str],
    answers: list[str],
    under: Callable[[], AbstractContextManager[Any]],
    *,
    batch_size: int = 8,
) -> list[float]:
    """Mean KL(untouched ‖ edited) over the tokens of given answers, in nats, per prompt.

    Formula: (1/T) Σ_t KL(p(· | prompt, answer_<t) ‖ q(· | prompt, answer_<t)), t = 1 … T. Both
    read the same answer, so a change of wording does not count as such, only that of the odds.

    Args:
        loaded: The untouched model.
        prompts: User messages.
        answers: What the untouched model answered; an empty one counts its first token.
        under: Puts the model under the edit; entered once a batch.
        batch_size: Prompts at a time, fewer where memory runs out.

    Raises:
        PromptError: A prompt does not fit the context with its answer.
        NumericsError: NaN or infinite logits.
    """
    forced = encode_forced(loaded, prompts, answers)
    found = [0.0] * len(prompts)

    def read(chosen: Sequence[int]) -> None:
        longest = max(forced.lengths[i] for i in chosen) + 1
        rows = [forced.rows[i] for i in chosen]
        before = finite(last_logits(loaded, rows, longest))
        with under():
            after = finite(last_logits(loaded, rows, longest))
        kl = kl_of_rows(before.flatten(0, 1), after.flatten(0, 1)).view(len(rows), longest)
        for place, i in enumerate(chosen):
            # The last token of a row predicts what comes after the answer; it does not count
            # unless the answer is empty.
            n = forced.lengths[i]
            end = longest - 1 if n else longest
            found[i] = float(kl[place, end - max(1, n) : end].double().mean())

    with torch.no_grad():
        run_batches(forced.by_length, batch_size, read)
    return found


def count_flips(
    loaded: LoadedModel,
    prompts: list[str],
    verdict: Callable[[str], object],
    *,
    max_new_tokens: int,
    batch_sizes: Sequence[int] = (1, 8, 32),
) -> BatchFlips:
    """Prompts whose verdict depends on how many others were in the batch.

    Batches of other sizes pad differently and, below float32, round differently.

    Args:
        loaded: The model, under hooks or not.
        prompts: User messages.
        verdict: What is compared of each answer.
        max_new_tokens: Length of the answers.
        batch_sizes: The first one is the reference.
    """
    given = [
        generate(loaded, prompts, max_new_tokens=max_new_tokens, batch_size=size)
        for size in batch_sizes
    ]
    words = [len(set(answers)) > 1 for answers in zip(*given, strict=True)]
    verdicts = [len({verdict(a) for a in answers}) > 1 for answers in zip(*given, strict=True)]
    return BatchFlips(tuple(batch_sizes), len(prompts), sum(verdicts), sum(words))
