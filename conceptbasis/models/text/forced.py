"""Given answers after their prompts: their tokens, and what the model says along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import answered, prompt_ids
from conceptbasis.models.text.decoding import finite, last_logits


@dataclass(frozen=True)
class Forced:
    """Prompts with their answers as token ids.

    Args:
        rows: Prompt and answer.
        lengths: Tokens of each answer.
    """

    rows: list[list[int]]
    lengths: list[int]

    @property
    def by_length(self) -> list[int]:
        """Places of the rows, the shortest row first, so that batches pad little."""
        return sorted(range(len(self.rows)), key=lambda i: len(self.rows[i]))


def encode_forced(loaded: LoadedModel, prompts: list[str], answers: list[str]) -> Forced:
    """Prompts and their answers as token ids, shown to whoever listens.

    Args:
        loaded: The model.
        prompts: User messages.
        answers: One for each; may be empty.

    Raises:
        PromptError: A prompt does not fit the context with its answer.
    """
    loaded.show(answered(prompts, answers))
    starts = prompt_ids(loaded.tokenizer, prompts)
    rows = prompt_ids(loaded.tokenizer, prompts, max_length=loaded.max_length, forced=answers)
    return Forced(rows, [len(row) - len(start) for row, start in zip(rows, starts, strict=True)])


def last_log_probs(
    loaded: LoadedModel, rows: Sequence[list[int]], n_last: int
) -> Float[Tensor, "batch n_last d_vocab"]:
    """What a model says after each of the last tokens of its rows, in nats, in float32.

    Args:
        loaded: The model.
        rows: Token ids.
        n_last: How many tokens, from the end.

    Raises:
        NumericsError: NaN or infinite logits.
    """
    return finite(last_logits(loaded, rows, n_last)).float().log_softmax(-1)
