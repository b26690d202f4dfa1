"""conceptbasis: rebuild an intervention of a donor model inside a target model.

In Python, with data frames (docs/python.md):

    import conceptbasis as cb

    run = cb.load_run("runs/demo")
    run.recipe  # one row per atom
    with run.replay(model) as edited:
        print(edited)  # "7/7 stream, ..."
        model.generate(...)

The same from the two files of a portable recipe, without the run they come from:

    with conceptbasis.load_recipe("recipe.json").apply(model):
        model.generate(...)

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conceptbasis.api.circuits import CircuitStudy, circuits
    from conceptbasis.api.run import Run, load_run
    from conceptbasis.api.sites import Similarity, match, svcca
    from conceptbasis.api.work import TrainedSaes, judge, train_saes, transfer
    from conceptbasis.edits.recipe_file import PortableRecipe
    from conceptbasis.models.stream.edit_report import EditReport

__version__ = "0.1.0"
__all__ = [
    "CircuitStudy",
    "Run",
    "Similarity",
    "TrainedSaes",
    "__version__",
    "circuits",
    "judge",
    "load_recipe",
    "load_run",
    "match",
    "replay",
    "svcca",
    "train_saes",
    "transfer",
]

_MODULES = {
    "circuits": ("CircuitStudy", "circuits"),
    "run": ("Run", "load_run"),
    "sites": ("Similarity", "match", "svcca"),
    "work": ("TrainedSaes", "judge", "train_saes", "transfer"),
}


def __getattr__(name: str) -> Any:
    """Imports what is used, when it is used."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"conceptbasis.api.{module}"), name)
    raise AttributeError(f"module 'conceptbasis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def replay(
    model: Any, folder: str | PathLike[str], *, check: bool = True
) -> AbstractContextManager[EditReport]:
    """Applies a finished transfer to its target for the duration of a `with` block.

    Args:
        model: The target, a transformers causal language model; also compiled, or wrapped by
            PEFT or for several devices.
        folder: The run folder.
        check: Whether the model's weights must be those of the target.

    Raises:
        ArtifactError: if the run is not finished or its files are corrupt.
        InterventionError: if the model is not the target, or the edit does not act on it.
    """
    from pathlib import Path

    from conceptbasis.edits.finished import replay_folder

    return replay_folder(model, Path(folder), check=check)


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
