"""A finished edit as weights: which edits can be written so, and writing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from conceptbasis.edits.intervention import Intervention, apply_intervention
from conceptbasis.errors import ConfigError, InterventionError
from conceptbasis.models.exports.adapter import Adapter, fill_adapter, make_adapter
from conceptbasis.models.exports.checkpoint import fill_checkpoint, stored_bytes
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.biases import add_to_biases
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.runs.files import write_text
from conceptbasis.runs.folders import check_space, new_folder

CARD = "README.md"


@dataclass(frozen=True)
class Base:
    """What an adapter says of the model that it belongs to.

    Args:
        name: Its hub id, None where it has none.
        revision: A branch, tag or commit of the hub.
    """

    name: str | None
    revision: str | None = None


def check_in_weights(edit: Intervention, *, adapter: bool = False) -> None:
    """Refuses an edit that no weights can hold, before any model is opened.

    Weights hold `orthogonalise`, and what is the same: `ablate` of the writers. A checkpoint
    also holds `add` where no position is left alone, as biases.

    Args:
        edit: The finished edit.
        adapter: Whether it is to be a LoRA.

    Raises:
        ConfigError: It cannot.
    """
    if _changes_matrices(edit) or (not adapter and _changes_biases(edit)):
        return
    raise ConfigError(
        f"mode {edit.mode} on scope {edit.scope} changes each activation by what it reads there, "
        "which no weights do"
        if edit.mode != "add"
        else _why_not_add(edit, adapter),
        expected="a run with replay.mode orthogonalise, or ablate with replay.scope writers, on a "
        "target without a norm after its writers (docs/exports.md)",
        fix="run the transfer again with --set replay.mode=orthogonalise --set "
        "replay.scope=writers and another --out; or use --json, which holds every edit",
    )


def _why_not_add(edit: Intervention, adapter: bool) -> str:
    if adapter or edit.scope != "stream":
        return f"mode add on scope {edit.scope} is a bias, and not a change of a matrix"
    return "mode add leaves attention sinks alone in this run, which a bias cannot"


def _changes_matrices(edit: Intervention) -> bool:
    return edit.mode == "orthogonalise" or (edit.mode == "ablate" and edit.scope == "writers")


def _changes_biases(edit: Intervention) -> bool:
    spares = any(bound is not None for bound in edit.max_norms)
    return edit.mode == "add" and edit.scope == "stream" and not spares


@contextmanager
def in_weights(loaded: LoadedModel, edit: Intervention) -> Iterator[EditReport]:
    """Edits the weights for the duration of the context, so that the model needs no hook.

    Args:
        loaded: The model.
        edit: An edit that `check_in_weights` lets through.

    Yields:
        What is edited. All parameters are put back on exit.

    Raises:
        ConfigError: Another edit.
        InterventionError: Weights that cannot be edited, or an `add` where an MLP has no bias.
    """
    check_in_weights(edit)
    if edit.mode == "add":
        rows = zip(edit.layers, edit.directions, edit.amounts, strict=True)
        with add_to_biases(loaded, {layer: a * r / r.norm() for layer, r, a in rows}) as report:
            yield report
        return
    with apply_intervention(loaded, _weight_edit(loaded, edit)) as report:
        yield report


def _weight_edit(loaded: LoadedModel, edit: Intervention) -> Intervention:
    """An edit of matrices in the mode `orthogonalise`, whose weights it has."""
    if obstacle := loaded.architecture.weight_obstacle():
        raise InterventionError(
            f"weights cannot hold this edit: {obstacle}",
            expected="a target whose writers are plain weights that add to the stream directly",
            fix="use --json, whose hooks do the same on any model",
        )
    which = edit.which if edit.mode == "orthogonalise" else "all"
    return replace(edit, mode="orthogonalise", scope="writers", which=which)


def check_checkpoint(loaded: LoadedModel, edit: Intervention, folder: Path) -> EditReport:
    """Finds out before anything is written whether a checkpoint can be.

    Args:
        loaded: The model.
        edit: The finished edit.
        folder: Where the checkpoint is to be.

    Returns:
        What would be edited.

    Raises:
        ConfigError: as `check_in_weights`.
        InterventionError: as `in_weights`.
        ArtifactError: The disk has no room for it.
    """
    check_space(folder, stored_bytes(loaded))
    with in_weights(loaded, edit) as report:
        return report


def export_checkpoint(loaded: LoadedModel, edit: Intervention, folder: Path, card: str) -> None:
    """Writes the target with the edit in its weights, whole or not at all.

    The edit is computed in float32 and rounded once, to the dtype the model was loaded in.

    Args:
        loaded: The model.
        edit: The finished edit.
        folder: A new folder.
        card: Text of its README.md.

    Raises:
        ConfigError: as `check_in_weights`.
        InterventionError: as `in_weights`.
        ArtifactError: The folder holds files, or cannot be written.
    """
    with new_folder(folder) as temporary, in_weights(loaded, edit):
        fill_checkpoint(loaded, temporary)
        write_text(temporary / CARD, card)


def adapter_of(loaded: LoadedModel, edit: Intervention) -> Adapter:
    """The edit as a LoRA of rank one for each edited matrix.

    Args:
        loaded: The untouched model.
        edit: The finished edit.

    Raises:
        ConfigError: as `check_in_weights`.
        InterventionError: Weights that cannot be edited, or a matrix that no LoRA reaches.
    """
    check_in_weights(edit, adapter=True)
    given = _weight_edit(loaded, edit)
    directions = dict(zip(given.layers, given.directions, strict=True))
    return make_adapter(loaded, directions, gamma=given.gamma, which=given.which)


def export_adapter(adapter: Adapter, folder: Path, card: str, base: Base) -> None:
    """Writes a LoRA for PEFT, whole or not at all.

    Args:
        adapter: The change.
        folder: A new folder.
        card: Text of its README.md.
        base: The model that it belongs to.

    Raises:
        ArtifactError: The folder holds files, or cannot be written.
    """
    with new_folder(folder) as temporary:
        fill_adapter(adapter, temporary, base=base.name, revision=base.revision)
        write_text(temporary / CARD, card)
