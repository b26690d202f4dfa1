"""conceptbasis: rebuild an intervention of a donor model inside a target model.

The finished intervention in Python:

    with conceptbasis.replay(model, "runs/demo") as edited:
        print(edited)  # "7/7 stream, ..."
        model.generate(...)

The same from the two files of a portable recipe, without the run they come from:

    with conceptbasis.load_recipe("recipe.json").apply(model):
        model.generate(...)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conceptbasis.edits.recipe_file import PortableRecipe
    from conceptbasis.models.stream.edit_report import EditReport

__version__ = "0.1.0"
__all__ = ["__version__", "load_recipe", "replay"]


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


def load_recipe(file: str | PathLike[str]) -> PortableRecipe:
    """Reads a portable recipe; its `apply(model)` edits the target.

    Args:
        file: `recipe.json`, with `recipe.safetensors` beside it, or the folder that holds both.

    Raises:
        ArtifactError: if a file is missing, was changed, or is of an older version.
    """
    from pathlib import Path

    from conceptbasis.edits.recipe_file import load_recipe as load

    return load(Path(file))
