"""How likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.decoding import finite, last_logits
from conceptbasis.models.text.forced import encode_forced
from conceptbasis.models.text.wide_rows import log_probs_of


def answer_log_likelihoods(
    loaded: LoadedModel,
    prompts: list[str],
    answers: list[str],
    *,
    skip: int = 0,
    batch_size: int = 32,
) -> list[float]:
    """Log-likelihood of each answer after its prompt, in nats, summed over the answer's tokens.

    Args:
        loaded: The model.
        prompts: User messages.
        answers: One for each; an empty one has log-likelihood 0.
        skip: Tokens at the start of an answer that do not count; of a shorter one all do.
        batch_size: Pairs at a time, fewer where memory runs out.

    Raises:
        PromptError: A prompt does not fit the context with its answer.
        NumericsError: NaN or infinite logits.
    """
    forced = encode_forced(loaded, prompts, answers)
    found = [0.0] * len(prompts)

    def read(chosen: Sequence[int]) -> None:
        lengths = [forced.lengths[i] for i in chosen]
        longest = max(lengths)
        if longest == 0:
            return
        rows = [forced.rows[i] for i in chosen]
        logits = finite(last_logits(loaded, rows, longest + 1))
        kept = [n - skip if n > skip else n for n in lengths]
        # A token is predicted by the place before it; the last place predicts what nobody said.
        places = [
            place * (longest + 1) + longest - n + k
            for place, n in enumerate(kept)
            for k in range(n)
        ]
        said = [token for row, n in zip(rows, kept, strict=True) for token in row[len(row) - n :]]
        where, ids = (torch.tensor(x, device=logits.device) for x in (places, said))
        logs = log_probs_of(logits.flatten(0, 1), where, ids)
        for i, own in zip(chosen, logs.split(kept), strict=True):
            found[i] = float(own.double().sum())

    with torch.no_grad():
        run_batches(forced.by_length, batch_size, read)
    return found
