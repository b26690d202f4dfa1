"""Given answers after their prompts, as tokens."""

from __future__ import annotations

from dataclasses import dataclass

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import answered, prompt_ids


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
