"""conceptbasis: rebuild an intervention of a donor model inside a target model.

The finished intervention in Python:

    with conceptbasis.replay(model, "runs/demo") as edited:
        print(edited)  # "7/7 stream, ..."
        model.generate(...)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conceptbasis.models.stream.edit_report import EditReport

__version__ = "0.1.0"
__all__ = ["__version__", "replay"]


def replay(model: Any, folder: str | PathLike[str]) -> AbstractContextManager[EditReport]:
    """Applies a finished transfer to its target for the duration of a `with` block.

    Args:
        model: The target, a transformers causal language model.
        folder: The run folder.

    Raises:
        ArtifactError: if the run is not finished or its files are corrupt.
        InterventionError: if the model is not one the transfer fits.
    """
    from pathlib import Path

    from conceptbasis.edits.finished import replay_folder

    return replay_folder(model, Path(folder))
