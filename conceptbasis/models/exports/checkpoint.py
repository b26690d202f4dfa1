"""A model as it is in memory, in the standard folder format."""

from __future__ import annotations

from pathlib import Path

from conceptbasis.models.loading.loaded import LoadedModel

SHARD = "5GB"
"""The most bytes of one file of weights."""


def stored_bytes(loaded: LoadedModel) -> int:
    """Bytes of the weights in their dtype; what is tied counts once.

    Args:
        loaded: The model.
    """
    return sum(p.numel() * p.element_size() for p in loaded.model.parameters())


def fill_checkpoint(loaded: LoadedModel, folder: Path) -> None:
    """Writes configuration, weights, tokenizer and chat template into an empty folder.

    Weights are written as they are now, edited or not, in their dtype, in files of at most `SHARD`.
    The chat template is the one the model was used with, chat options included.

    Args:
        loaded: The model; its weights are plain and in memory.
        folder: Where they go.
    """
    loaded.model.save_pretrained(folder, max_shard_size=SHARD)
    loaded.tokenizer.save_pretrained(folder)
