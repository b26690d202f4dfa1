"""Checkpoints of SAE training: one safetensors file, its JSON state in the header."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from conceptbasis.errors import SaeError
from conceptbasis.runs.files import replacing

_FILE = "training.safetensors"
_COUNTERS = ("act_freq_scores", "n_forward_passes_since_fired")


def save_training_state(
    folder: Path, trainers: Mapping[int, Any], *, step: int, identity: dict[str, Any]
) -> None:
    """Writes the state of all trainers at once: a temporary file, then a rename.

    Args:
        folder: Where the checkpoint lies; made if missing.
        trainers: A sae-lens `SAETrainer` by layer.
        step: Steps done.
        identity: What the training was asked to do; a checkpoint serves no other.

    Raises:
        ArtifactError: The folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for layer, trainer in trainers.items():
        for name, value in _tensors(trainer).items():
            tensors[f"{layer}/{name}"] = value.detach().contiguous().clone()
    state = {
        "step": step,
        "identity": identity,
        "n_training_samples": {str(k): t.n_training_samples for k, t in trainers.items()},
        "n_frac_active_samples": {str(k): t.n_frac_active_samples for k, t in trainers.items()},
    }
    with replacing(folder / _FILE) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(state)})


def load_training_state(
    folder: Path, trainers: Mapping[int, Any], *, identity: dict[str, Any]
) -> int:
    """Puts the trainers where the checkpoint left them.

    Args:
        folder: Where the checkpoint lies.
        trainers: Fresh trainers of the same training.
        identity: What this training is asked to do.

    Returns:
        Steps done; 0 when there is no checkpoint.

    Raises:
        SaeError: The checkpoint is unreadable or belongs to another training.
    """
    path = folder / _FILE
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SaeError(
            f"{path} is not a readable training checkpoint: {error}",
            expected="a file that an earlier run of the same training wrote",
            fix="delete the file to train from the start",
        ) from error
    if state["identity"] != json.loads(json.dumps(identity)):
        raise SaeError(
            f"{path} belongs to another training: {state['identity']}",
            expected=f"{identity}",
            fix="delete the file, or use another folder for these settings",
        )
    for layer, trainer in trainers.items():
        _restore(trainer, layer, tensors, state)
    return int(state["step"])


def remove_training_state(folder: Path) -> None:
    """Deletes the checkpoint of a training that is done.

    Args:
        folder: Where the checkpoint lies.
    """
    (folder / _FILE).unlink(missing_ok=True)


def _tensors(trainer: Any) -> dict[str, Tensor]:
    found = {f"sae/{name}": value for name, value in trainer.sae.state_dict().items()}
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            found[f"optimizer/{index}/{name}"] = value
    for name in _COUNTERS:
        found[f"trainer/{name}"] = getattr(trainer, name)
    return found


def _restore(trainer: Any, layer: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    own = {
        name.partition("/")[2]: value
        for name, value in tensors.items()
        if name.startswith(f"{layer}/")
    }
    trainer.sae.load_state_dict(
        {name[len("sae/") :]: value for name, value in own.items() if name.startswith("sae/")}
    )
    step = int(state["step"])
    # The schedule depends on the step alone, so it is replayed rather than stored.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(step):
            trainer.lr_scheduler.step()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in own.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = value
    optimizer_state = trainer.optimizer.state_dict()
    trainer.optimizer.load_state_dict({**optimizer_state, "state": moments})
    for name in _COUNTERS:
        setattr(trainer, name, own[f"trainer/{name}"].to(torch.float32))
    trainer.n_training_steps = step
    trainer.n_training_samples = state["n_training_samples"][str(layer)]
    trainer.n_frac_active_samples = state["n_frac_active_samples"][str(layer)]
