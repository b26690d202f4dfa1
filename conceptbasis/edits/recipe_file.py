"""The portable recipe: `recipe.json` and `recipe.safetensors` alone are enough to edit a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conceptbasis.config.transfer import Mode, Scope
from conceptbasis.edits.intervention import Intervention
from conceptbasis.edits.target import Belongs, adjusted, edit_target
from conceptbasis.errors import ArtifactError
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.results.edit import Replayed
from conceptbasis.results.layers import LayerPlan
from conceptbasis.results.summary import SCHEMA
from conceptbasis.runs.files import (
    corrupt,
    file_hash,
    load_tensors,
    read_json,
    save_tensors,
    value_hash,
    write_json,
)
from conceptbasis.runs.storage import from_json, to_json

if TYPE_CHECKING:
    from torch import Tensor

RECIPE, RECIPE_TENSORS = "recipe.json", "recipe.safetensors"


@dataclass(frozen=True)
class Fits:
    """The model that a recipe edits, or comes from.

    Args:
        model: Where it was loaded from.
        hash: Of its weights and its tokenizer.
        weights: Of its weights alone, in whatever dtype.
    """

    model: str
    hash: str
    weights: str


@dataclass(frozen=True)
class EditFields:
    """What `recipe.json` says of the edit; the fields are those of `results.edit.Replayed`."""

    mode: Mode
    scope: Scope
    gamma: float
    which: Literal["all", "attention"]
    amounts: tuple[float, ...]
    thresholds: tuple[float, ...]
    max_norms: tuple[float | None, ...]
    plan: LayerPlan
    architecture: Mapping[str, object] | None


@dataclass(frozen=True)
class PortableRecipe:
    """A recipe that was read from its two files.

    Args:
        path: Of `recipe.json`.
        donor: Where the direction comes from.
        target: What it edits.
        intervention: The edit.
        architecture: The target's own row of the architecture table, if its file has one.
    """

    path: Path
    donor: Fits
    target: Fits
    intervention: Intervention = field(repr=False)
    architecture: Mapping[str, object] | None = field(default=None, repr=False)

    @property
    def layers(self) -> tuple[int, ...]:
        """The edited layers."""
        return self.intervention.layers

    def apply(
        self,
        model: Any,
        *,
        gamma: float | None = None,
        layers: Iterable[int] | None = None,
        check: bool = True,
    ) -> AbstractContextManager[EditReport]:
        """Edits a model for the duration of a `with` block and restores it exactly.

        Args:
            model: The target in any dtype, also compiled, or wrapped by PEFT or for several
                devices.
            gamma: Strength in place of the recipe's; in mode `add`, a multiple of what it adds.
            layers: Some of the edited layers; all by default.
            check: Whether the model's weights must be those of the target.

        Raises:
            InterventionError: if the weights are not those of the target, or the edit does not fit
                or does not act.
        """
        weights = {"target": self.target.weights, "donor": self.donor.weights}
        belongs = Belongs(str(self.path), self.target.model, weights, self.architecture)
        edit = adjusted(self.intervention, gamma, layers)
        return edit_target(model, edit, belongs, check=check)


def load_recipe(path: Path) -> PortableRecipe:
    """Reads a recipe and the tensors beside it.

    Args:
        path: `recipe.json`, or a folder that holds it.

    Raises:
        ArtifactError: if a file is missing, was changed, or is of an older version.
    """
    file = path / RECIPE if path.is_dir() else path
    content = read_json(file, ("donor", "target", "plan", "hash"))
    if "tensors" not in content:
        raise ArtifactError(
            f"{file} is of an older version, which lacks what applying it needs",
            expected="a recipe with the hash of its tensors",
            fix="run the command that made it again",
        )
    if content.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{file} is of another version (schema {content.get('schema')!r})",
            expected=f"schema {SCHEMA}",
            fix="run the command that made it again with this version, or install that version",
        )
    if value_hash({k: v for k, v in content.items() if k != "hash"}) != content["hash"]:
        raise corrupt(file, "its hash is not the one recorded")
    beside = file.with_suffix(".safetensors")
    tensors = load_tensors(beside)
    if file_hash(beside) != content["tensors"]:
        raise corrupt(beside, f"its hash is not the one that {file.name} holds")
    lacking = [name for name in ("directions", "means") if name not in tensors]
    if lacking:
        raise corrupt(beside, f"it does not hold {', '.join(lacking)}")
    names = EditFields.__dataclass_fields__
    edit = from_json(EditFields, {k: v for k, v in content.items() if k in names}, file)
    intervention = Intervention(
        edit.plan,
        tensors["directions"],
        edit.mode,
        edit.scope,
        edit.gamma,
        edit.amounts,
        tensors["means"],
        edit.which,
        tensors.get("gates"),
        edit.thresholds,
        edit.max_norms,
    )
    donor, target = (from_json(Fits, content[side], file) for side in ("donor", "target"))
    return PortableRecipe(file, donor, target, intervention, edit.architecture)


def write_recipe_files(
    folder: Path, about: Mapping[str, object], replayed: Replayed, tensors: Mapping[str, Tensor]
) -> None:
    """Writes the two files.

    Args:
        folder: Where they go.
        about: What else a reader of the recipe wants: models, SAEs, atoms.
        replayed: The finished edit.
        tensors: Tensors beside those of the edit.
    """
    gates = {} if replayed.gates is None else {"gates": replayed.gates}
    own = {"directions": replayed.directions, "means": replayed.means, **gates}
    save_tensors(folder / RECIPE_TENSORS, own | dict(tensors))
    edit = {name: to_json(getattr(replayed, name)) for name in EditFields.__dataclass_fields__}
    content = {**about, **edit, "tensors": file_hash(folder / RECIPE_TENSORS)}
    write_json(folder / RECIPE, {**content, "hash": value_hash(content)})
