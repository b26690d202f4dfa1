"""How far an edited model moves along answers that the untouched model gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import answered, pad_left, prompt_ids
from conceptbasis.models.text.decoding import finite, positions
from conceptbasis.models.text.generation import generate
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
    loaded.show(answered(prompts, answers))
    starts = [len(row) for row in prompt_ids(loaded.tokenizer, prompts)]
    rows = prompt_ids(loaded.tokenizer, prompts, max_length=loaded.max_length, forced=answers)
    found = [0.0] * len(rows)

    def read(chosen: Sequence[int]) -> None:
        longest = max(len(rows[i]) - starts[i] for i in chosen) + 1
        some = [rows[i] for i in chosen]
        before = _log_probs(loaded, some, longest)
        with under():
            after = _log_probs(loaded, some, longest)
        kl = (before.exp() * (before - after)).sum(-1)
        for place, i in enumerate(chosen):
            # The last token of a row predicts what comes after the answer; it does not count
            # unless the answer is empty.
            n = max(1, len(rows[i]) - starts[i])
            end = longest - 1 if len(rows[i]) > starts[i] else longest
            found[i] = float(kl[place, end - n : end].double().mean())

    with torch.no_grad():
        run_batches(sorted(range(len(rows)), key=lambda i: len(rows[i])), batch_size, read)
    return found


def _log_probs(
    loaded: LoadedModel, rows: list[list[int]], n_last: int
) -> Float[Tensor, "batch n_last d_vocab"]:
    batch = pad_left(loaded.tokenizer, rows)
    mask = batch.attention_mask.to(loaded.device)
    logits = loaded.model(
        input_ids=batch.input_ids.to(loaded.device),
        attention_mask=mask,
        position_ids=positions(mask),
        use_cache=False,
        logits_to_keep=n_last,
    ).logits
    return finite(logits[:, -n_last:]).float().log_softmax(-1)


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
