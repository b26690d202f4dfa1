"""Finished organisms in the cache: a standard model folder with a card of figures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from conceptbasis.errors import ArtifactError
from conceptbasis.models.loading.creation import save_folder
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.runs.files import file_hash, read_json, write_json, writing
from conceptbasis.runs.leftovers import remove_leftovers

CARD = "organism.json"
WEIGHTS = "model.safetensors"


def is_complete(folder: Path) -> bool:
    """Whether the folder holds a finished organism whose weights are as they were written."""
    card, weights = folder / CARD, folder / WEIGHTS
    if not (card.exists() and weights.exists()):
        return False
    return bool(read_json(card, ("weights",))["weights"] == file_hash(weights))


def keep(loaded: LoadedModel, folder: Path, card: Mapping[str, object]) -> None:
    """Writes model, tokenizer and card, all or nothing.

    Args:
        loaded: The organism.
        folder: Where it is kept; what was there is replaced.
        card: Its figures; the hash of the weights is added.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    remove_leftovers(folder.parent, folder.name)
    try:
        with writing(folder):
            save_folder(loaded.model, loaded.tokenizer, temporary)
            write_json(temporary / CARD, {**card, "weights": file_hash(temporary / WEIGHTS)})
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Refuses, before any work, a place whose content is not an earlier organism.

    Raises:
        ArtifactError: if it is a file, or a folder that holds something else.
    """
    if folder.is_dir() and ((folder / CARD).exists() or not any(folder.iterdir())):
        return
    if folder.exists():
        raise ArtifactError(
            f"{folder} holds something else than an organism",
            expected="a folder that does not exist yet, is empty, or holds an earlier organism",
            fix="name another folder; an earlier organism in it would be replaced",
        )
