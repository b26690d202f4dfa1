"""Labels of one's own: kept in `labels.yaml` of a run, and shown in place of the automatic ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from conceptbasis.config.base import load_yaml
from conceptbasis.errors import ConfigError
from conceptbasis.runs.files import write_text

if TYPE_CHECKING:
    from conceptbasis.results.harvest import SideName

LABELS = "labels.yaml"
"""Beside the stages of a run, which never write it, so that running again keeps it."""
_SIDES: tuple[SideName, ...] = ("donor", "target")
_LONGEST = 200


class Labelled(NamedTuple):
    """A latent that can have a label: whose, the layer of that model, and its number."""

    side: SideName
    layer: int
    latent: int


OwnLabels = Mapping[Labelled, str]


def read_labels(folder: Path) -> OwnLabels:
    """The labels of a run; none without the file.

    Raises:
        ConfigError: The file is not of the form `side: {layer: {latent: text}}`.
    """
    path = folder / LABELS
    if not path.exists():
        return {}
    found: dict[Labelled, str] = {}
    for name, layers in load_yaml(path).items():
        side = next((side for side in _SIDES if side == name), None)
        if side is None:
            raise _malformed(path, f"the side {name!r}")
        _require(isinstance(layers, dict), path, f"{side}: {layers!r}")
        for layer, latents in layers.items():
            _require(_is_number(layer), path, f"the layer {layer!r} of the {side}")
            _require(isinstance(latents, dict), path, f"{side} {layer}: {latents!r}")
            for latent, text in latents.items():
                where = f"latent {latent!r} at {side} layer {layer}"
                _require(_is_number(latent), path, where)
                _require(isinstance(text, str) and _is_label(text), path, f"{where}: {text!r}")
                found[Labelled(side, layer, latent)] = text
    return found


def labels_at(labels: OwnLabels, side: SideName, layer: int) -> dict[int, str]:
    """The labels of one layer of one model, by latent."""
    return {latent: text for (of, at, latent), text in labels.items() if (of, at) == (side, layer)}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_label(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and len(text) <= _LONGEST


def _require(holds: bool, path: Path, what: str) -> None:
    if not holds:
        raise _malformed(path, what)


def _malformed(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path} holds {what}",
        expected="`side: {layer: {latent: text}}` with donor or target, numbers from 0, and "
        f"texts of one line of at most {_LONGEST} characters",
        fix="correct the file, or take the line out and use `conceptbasis inspect --label`",
    )


def write_label(folder: Path, which: Labelled, text: str) -> Path:
    """Keeps a label of one's own, or takes it back.

    Comments in the file are not kept.

    Args:
        folder: The run folder.
        which: The latent.
        text: The label; an empty one takes back what there was.

    Returns:
        The path of the file.

    Raises:
        ConfigError: The text is no label, or the file is not of its form.
    """
    import yaml

    if text and not _is_label(text):
        raise ConfigError(
            f"the label {text[:40]!r}",
            expected=f"one line of at most {_LONGEST} characters",
            fix="shorten it",
        )
    labels = {**read_labels(folder), which: text}
    shown: dict[str, dict[int, dict[int, str]]] = {}
    for (side, layer, latent), label in sorted(labels.items()):
        if label:
            shown.setdefault(side, {}).setdefault(layer, {})[latent] = label
    path = folder / LABELS
    write_text(path, yaml.safe_dump(shown, allow_unicode=True, sort_keys=True))
    return path
