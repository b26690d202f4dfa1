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


def replay(
    model: Any, folder: str | PathLike[str], *, check: bool = True
) -> AbstractContextManager[EditReport]:
    """Applies a finished transfer to its target for the duration of a `with` block.

    Args:
        model: The target, a transformers causal language model; also compiled, or wrapped by PEFT.
        folder: The run folder.
        check: Whether the model's weights must be those of the target.

    Raises:
        ArtifactError: if the run is not finished or its files are corrupt.
        InterventionError: if the model is not the target, or the edit does not act on it.
    """
    from pathlib import Path

    from conceptbasis.edits.finished import replay_folder

    return replay_folder(model, Path(folder), check=check)
