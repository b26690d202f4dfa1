"""The forms of `export`: each is checked before any of them is written."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbasis import __version__
from conceptbasis.cli.command import check_device
from conceptbasis.cli.export import model_args
from conceptbasis.cli.finished import open_finished
from conceptbasis.edits.edit_file import Described, write_edit
from conceptbasis.edits.exports import (
    Base,
    adapter_of,
    check_checkpoint,
    check_in_weights,
    export_adapter,
    export_checkpoint,
)
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import Intervention, edits_of, intervention_of
from conceptbasis.errors import ConfigError
from conceptbasis.models.harness import check_steered_name, save_steered, steered_entries
from conceptbasis.report.card import Exported, Form, hub_id, model_card, public_name
from conceptbasis.runs.files import check_place, check_run_folder
from conceptbasis.runs.folders import check_new_folder
from conceptbasis.runs.settings import read_settings
from conceptbasis.runs.summary import read_summary

if TYPE_CHECKING:
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.models.loading.loaded import LoadedModel

Written = tuple[str, str]
"""What is told of a written form, and what to run next."""
_FOLDERS, _FILES = ("checkpoint", "lora"), ("json", "steered")


@dataclass(frozen=True)
class Target:
    """A finished run with its target opened."""

    folder: Path
    config: ModelConfig
    behavior: str
    weights: str
    edit: Intervention
    loaded: LoadedModel

    @property
    def name(self) -> str:
        """What may be said of where the model comes from."""
        return public_name(self.config.model, self.config.name)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a card says of how this target was loaded."""
        found = []
        if self.config.adapter is not None:
            name = hub_id(self.config.adapter) or Path(self.config.adapter).name
            found.append(f"The adapter {name} is merged into the base model.")
        if self.loaded.file_hash is not None:
            found.append(
                "The base model was read from a GGUF file and dequantized; SHA-256 of the file: "
                f"`{self.loaded.file_hash}`."
            )
        if self.config.chat != type(self.config.chat)():
            found.append("The chat template holds the system prompt or the settings of the run.")
        return tuple(found)

    def card(self, form: Form, edited: str) -> str:
        """The model card of an exported folder."""
        exported = Exported(form, edited, self.weights, self.notes)
        return model_card(read_summary(self.folder), self.folder, exported)


def check_request(options: argparse.Namespace) -> None:
    """Refuses what can be refused before a model is opened.

    Raises:
        ConfigError: No form is asked for, two in one place, or the run's edit has no such form.
        ArtifactError: A place cannot be written, or the folder is no finished run.
    """
    given = {name: getattr(options, name) for name in (*_FOLDERS, *_FILES)}
    places = {name: path for name, path in given.items() if path is not None}
    if not places:
        raise ConfigError(
            "no form is asked for",
            expected="at least one of " + ", ".join(f"--{name}" for name in given),
            fix="see conceptbasis export --help for what each form holds",
        )
    _check_apart(list(places.values()))
    for name, path in places.items():
        (check_new_folder if name in _FOLDERS else check_place)(path)
    check_run_folder(options.folder)
    check_device(options.device)
    edit = intervention_of(load_replayed(options.folder))
    for name in set(places) & set(_FOLDERS):
        check_in_weights(edit, adapter=name == "lora")
        read_summary(options.folder)  # its figures go into the card
    if "lora" in places:
        _check_plain_base(read_settings(options.folder)[0])
    if "steered" in places:
        check_steered_name(places["steered"])
        _check_hooks(edit)


def _check_apart(places: Sequence[Path]) -> None:
    whole = [path.resolve() for path in places]
    for path in whole:
        others = [other for other in whole if other is not path]
        if any(other == path or path in other.parents for other in others):
            raise ConfigError(
                f"{path} is asked for twice, or would hold another form",
                expected="a place of its own for each form",
                fix="name another place",
            )


def _check_plain_base(config: ModelConfig) -> None:
    if config.adapter is not None:
        raise ConfigError(
            f"a LoRA on {config.name}, into which adapter {config.adapter} is merged",
            expected="a target whose weights can be loaded as they are",
            fix="use --checkpoint, which holds both; or save the merged model and transfer to it",
        )


def _check_hooks(edit: Intervention) -> None:
    if edit.mode == "orthogonalise":
        raise ConfigError(
            "a weight edit has no hooks to export",
            expected="a run with replay.mode ablate, affine or add",
            fix="run the transfer again with --set replay.mode=ablate --set replay.scope=stream; "
            "or use --checkpoint or --lora, which hold this run",
        )


def prepare(options: argparse.Namespace) -> Target:
    """The target of the run, opened.

    Raises:
        ConfigError: The device cannot be used, or the weights are not those of the run.
    """
    config, run = read_settings(options.folder)
    weights = load_replayed(options.folder).weights["target"]
    loaded, edit = open_finished(options)
    return Target(options.folder, config, run.behavior, weights, edit, loaded)


def _checkpoint(target: Target, path: Path) -> Callable[[], Written]:
    edited = str(check_checkpoint(target.loaded, target.edit, path))
    card = target.card("checkpoint", edited)
    dtype = str(target.loaded.model.dtype).removeprefix("torch.")

    def write() -> Written:
        export_checkpoint(target.loaded, target.edit, path, card)
        following = shlex.join(("conceptbasis", "doctor", "--model", str(path)))
        return f"{path}: {edited} edited, {dtype}", following

    return write


def _lora(target: Target, path: Path) -> Callable[[], Written]:
    adapter = adapter_of(target.loaded, target.edit)
    card = target.card("lora", f"{len(adapter.modules)} matrices")
    base = Base(hub_id(target.config.model), target.config.revision)

    def write() -> Written:
        export_adapter(adapter, path, card, base)
        following = f"peft.PeftModel.from_pretrained(model, {str(path)!r}) in Python"
        return f"{path}: {len(adapter.modules)} matrices of rank one", following

    return write


def _json(target: Target, path: Path) -> Callable[[], Written]:
    about = Described(
        target.behavior,
        target.name,
        target.config.revision,
        target.weights,
        __version__,
    )

    def write() -> Written:
        n_edits = write_edit(path, target.loaded, target.edit, about)
        return f"{path}: {n_edits} edited modules", "read it without conceptbasis (docs/exports.md)"

    return write


def _steered(target: Target, path: Path) -> Callable[[], Written]:
    entries = steered_entries(target.loaded, edits_of(target.edit), target.edit.scope)

    def write() -> Written:
        save_steered(path, entries)
        given = {"pretrained": target.loaded.name, "steer_path": str(path)}
        command = ("lm-eval", "run", "--model", "steered", "--model_args", model_args(given))
        following = shlex.join((*command, "--tasks", "NAME"))
        return f"{path}: {len(entries)} hook points", following

    return write


FORMS: tuple[tuple[str, Callable[[Target, Path], Callable[[], Written]]], ...] = (
    ("checkpoint", _checkpoint),
    ("lora", _lora),
    ("json", _json),
    ("steered", _steered),
)
"""Every form by its option: a function that checks it, and gives another that writes it."""
