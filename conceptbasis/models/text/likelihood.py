"""How likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.forced import encode_forced, last_log_probs


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
        logs = last_log_probs(loaded, rows, longest + 1)[:, :-1]
        for i, row, n, log in zip(chosen, rows, lengths, logs, strict=True):
            kept = n - skip if n > skip else n
            said = torch.tensor(row[len(row) - kept :], dtype=torch.long, device=log.device)
            found[i] = float(log[longest - kept :].gather(-1, said[:, None]).double().sum())

    with torch.no_grad():
        run_batches(forced.by_length, batch_size, read)
    return found
