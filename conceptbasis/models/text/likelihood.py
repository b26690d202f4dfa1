"""How likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import answered, pad_left, prompt_ids
from conceptbasis.models.text.decoding import finite, positions


def answer_log_likelihoods(
    loaded: LoadedModel, prompts: list[str], answers: list[str], *, batch_size: int = 32
) -> list[float]:
    """Log-likelihood of each answer after its prompt, in nats, summed over the answer's tokens.

    Args:
        loaded: The model.
        prompts: User messages.
        answers: One for each; an empty one has log-likelihood 0.
        batch_size: Pairs at a time, fewer where memory runs out.

    Raises:
        PromptError: A prompt does not fit the context with its answer.
        NumericsError: NaN or infinite logits.
    """
    loaded.show(answered(prompts, answers))
    starts = [len(row) for row in prompt_ids(loaded.tokenizer, prompts)]
    rows = prompt_ids(loaded.tokenizer, prompts, max_length=loaded.max_length, forced=answers)
    found = [0.0] * len(rows)

    def read(chosen: Sequence[int]) -> None:
        lengths = [len(rows[i]) - starts[i] for i in chosen]
        if max(lengths) == 0:
            return
        batch = pad_left(loaded.tokenizer, [rows[i] for i in chosen])
        ids, mask = (t.to(loaded.device) for t in (batch.input_ids, batch.attention_mask))
        logits = loaded.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=False,
            logits_to_keep=max(lengths) + 1,
        ).logits[:, -max(lengths) - 1 : -1]
        logs = finite(logits).float().log_softmax(-1)
        said = logs.gather(-1, ids[:, -max(lengths) :, None])[..., 0].double()
        for place, i in enumerate(chosen):
            found[i] = float(said[place, max(lengths) - lengths[place] :].sum())

    with torch.no_grad():
        run_batches(sorted(range(len(rows)), key=lambda i: len(rows[i])), batch_size, read)
    return found
