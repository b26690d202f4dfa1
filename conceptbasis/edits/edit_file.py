"""A finished edit as one JSON file that says all of itself, for programs that know nothing of us.

The format is described in docs/exports.md, with a reader of its own that a test runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conceptbasis.edits.intervention import Intervention, edits_of
from conceptbasis.models.architecture.binding import Architecture
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.hooks import Edit
from conceptbasis.runs.files import write_text

FORMAT, VERSION = "conceptbasis.edit", 2
"""Name and version of the format; the version rises when a reader of the last one would err."""
_DIGITS = 9
"""Significant digits after which a float32 is read back as it was."""


@dataclass(frozen=True)
class Described:
    """What the file says beside the edit itself.

    Args:
        behavior: What the edit acts on.
        model: The model's hub id, or its name where it has none.
        revision: A branch, tag or commit of the hub.
        weights: Hash of its weights, from `models.loading.wrapped.hash_weights`.
        version: Version of this package.
    """

    behavior: str
    model: str
    revision: str | None
    weights: str
    version: str


def write_edit(path: Path, loaded: LoadedModel, edit: Intervention, about: Described) -> int:
    """Writes the file.

    Args:
        path: The file.
        loaded: The model that the edit is for.
        edit: The finished edit, in any mode.
        about: What else a reader wants to know.

    Returns:
        How many modules are edited.

    Raises:
        InterventionError: `affine` or `cap` has no means, or `raise` no gates.
        ArtifactError: The file cannot be written.
    """
    rows = list(_rows(loaded, edit))
    head = json.dumps({**_head(loaded, edit, about), "edits": []}, indent=1, ensure_ascii=False)
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)  # a line an edit
    write_text(path, f"{head.removesuffix('[]' + chr(10) + '}')}[\n{lines}\n]}}\n")
    return len(rows)


def _head(loaded: LoadedModel, edit: Intervention, about: Described) -> Mapping[str, object]:
    architecture = loaded.architecture
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"conceptbasis {about.version}",
        "behavior": about.behavior,
        "model": {
            "name": about.model,
            "revision": about.revision,
            "weights": about.weights,
            "model_type": architecture.model_type,
            "n_layers": architecture.n_layers,
            "d_model": architecture.d_model,
        },
        "run": {
            "mode": edit.mode,
            "scope": edit.scope,
            "gamma": edit.gamma,
            "layers": list(edit.layers),
        },
    }


def _rows(loaded: LoadedModel, edit: Intervention) -> Iterator[Mapping[str, object]]:
    """One row for each edited module; an edit of weights is an ablation of what they add."""
    names = {id(module): name for name, module in loaded.model.named_modules()}
    for one in edits_of(edit):
        for module in _modules(loaded.architecture, edit, one.layer):
            yield _row(one, names[id(module)], stream=edit.scope == "stream")


def _modules(architecture: Architecture, edit: Intervention, layer: int) -> Sequence[nn.Module]:
    if edit.scope == "stream":
        return [architecture.blocks[layer]]
    attention = architecture.attention_added(layer)
    if edit.mode == "orthogonalise" and edit.which == "attention":
        return [attention]
    return [attention, architecture.mlp_added(layer)]


def _row(edit: Edit, module: str, *, stream: bool) -> dict[str, Any]:
    return {
        "layer": edit.layer,
        "module": module,
        "mode": edit.mode,
        "gamma": edit.gamma,
        "amount": edit.amount,
        "threshold": edit.threshold,
        "max_norm": edit.max_norm if stream else None,
        "direction": _numbers(edit.direction / edit.direction.norm()),
        "mean": _numbers(edit.mean),
        "gate": _numbers(edit.gate),
    }


def _numbers(vector: Tensor | None) -> list[float] | None:
    """The shortest numbers that are read back as the same float32."""
    if vector is None:
        return None
    return [float(f"{x:.{_DIGITS}g}") for x in vector.to(torch.float32).tolist()]
