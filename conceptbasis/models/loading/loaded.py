"""A model that is ready to be read and edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from conceptbasis.models.architecture.binding import Architecture
from conceptbasis.models.loading.placement import execution_device

Gate: TypeAlias = Callable[[Sequence[str | list[dict[str, str]]]], None]
"""Told what a model is about to read; it raises where that is not allowed. A prompt and a plain
text are strings, a chat is a list of messages."""


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in evaluation mode, its tokenizer and its bound architecture.

    Args:
        model: The transformers model; no parameter requires a gradient.
        tokenizer: A fast tokenizer with a chat template.
        architecture: The table row bound to the model.
        name: The hub id, folder or file it was loaded from.
        file_hash: SHA-256 of the GGUF file it was read from, None for other formats.
        gate: Told every text before the model reads it; None lets all through.
    """

    model: Any
    tokenizer: Any
    architecture: Architecture
    name: str
    file_hash: str | None = None
    gate: Gate | None = None

    def show(self, texts: Sequence[str | list[dict[str, str]]]) -> None:
        """Tells the gate what the model is about to read; it may raise."""
        if self.gate is not None and texts:
            self.gate(texts)

    @property
    def device(self) -> torch.device:
        """Where the embedding lives, so where token ids must go."""
        return execution_device(self.architecture.embed)

    @property
    def max_length(self) -> int | None:
        """The longest sequence the model was made for, or None when it does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
