"""A weight edit as a PEFT adapter of rank one for each matrix; peft is not needed to write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import WriterSlot
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.edit_report import check_direction, check_layer, nothing_edited
from conceptbasis.models.stream.weights import check_weight_edits
from conceptbasis.runs.files import save_tensors, write_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The two files by which peft knows an adapter."""
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """A low-rank change of linear layers.

    Args:
        modules: Full names of the changed modules inside the model.
        tensors: By peft's names: `lora_A` (1, d_in), `lora_B` (d_model, 1), and `lora_B`'s bias
            (d_model) where the layers have one; in float32.
        in_out: Whether the layers store their input side first (Conv1D).
        biased: Whether biases are changed too (peft's `lora_bias`).
    """

    modules: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    in_out: bool
    biased: bool


@torch.no_grad()
def make_adapter(
    loaded: LoadedModel,
    directions: Mapping[int, Float[Tensor, " d_model"]],
    *,
    gamma: float = 1.0,
    which: str = "all",
) -> Adapter:
    """The weight edit of `orthogonalise_weights` in low rank.

    Formula: W − γ r (rᵀW) = W + B A, B = r, A = −γ rᵀW; for a bias b − γ r (rᵀb).

    Args:
        loaded: The untouched model.
        directions: A unit vector by layer.
        gamma: 1 removes the direction, 2 reflects it, below 0 strengthens it.
        which: `all` writers, or `attention` only.

    Raises:
        InterventionError: as `orthogonalise_weights`, or a matrix that no adapter reaches.
    """
    slots = list(_slots(loaded, directions, which))
    biased = _check_slots([slot for slot, _ in slots])
    names = {id(module): name for name, module in loaded.model.named_modules()}
    tensors: dict[str, Tensor] = {}
    for slot, direction in slots:
        name = f"{_PREFIX}{names[id(slot.module)]}"
        r = direction.float().cpu() / direction.float().cpu().norm()
        stored = getattr(slot.module, slot.weight).float().cpu()
        matrix = stored if slot.orientation == "out_in" else stored.T
        tensors[f"{name}.lora_A.weight"] = -gamma * (r @ matrix)[None]
        tensors[f"{name}.lora_B.weight"] = r[:, None].clone()
        if slot.bias is not None:
            bias = getattr(slot.module, slot.bias).float().cpu()
            tensors[f"{name}.lora_B.bias"] = -gamma * (r @ bias) * r
    modules = tuple(names[id(slot.module)] for slot, _ in slots)
    return Adapter(modules, tensors, slots[0][0].orientation == "in_out", biased)


def _slots(
    loaded: LoadedModel, directions: Mapping[int, Tensor], which: str
) -> Iterator[tuple[WriterSlot, Tensor]]:
    """Every writer that the edit changes, with its direction."""
    if not directions:
        raise nothing_edited()
    check_weight_edits(loaded.architecture)
    for layer, r in directions.items():
        check_layer(loaded.architecture, layer)
        check_direction(r, loaded.architecture, f"layer {layer}")
        for slot in loaded.architecture.writers(layer):
            if which == "all" or slot.kind == "attention":
                yield slot, r


def _check_slots(slots: list[WriterSlot]) -> bool:
    """Whether the layers have biases; refuses those that a LoRA cannot change as the edit does."""
    fused = next((slot for slot in slots if slot.n_experts is not None), None)
    if fused is not None:
        raise InterventionError(
            f"{fused.name} as a LoRA: its {fused.n_experts} experts are one parameter of three "
            "axes, whose factors peft lays out differently from version to version",
            expected="linear layers only: a dense model, or an edit of attention only "
            "(replay.which attention)",
            fix="use --checkpoint, which holds the edited experts themselves",
        )
    biased = {slot.bias is not None for slot in slots}
    if len(biased) > 1:
        raise InterventionError(
            "a LoRA of layers of which some have a bias and some have none",
            expected="biases in all edited layers or in none: peft's lora_bias is one switch",
            fix="use --checkpoint, which holds the edited biases themselves",
        )
    return biased.pop()


def fill_adapter(adapter: Adapter, folder: Path, *, base: str | None, revision: str | None) -> None:
    """Writes the two files that `PeftModel.from_pretrained` reads.

    Args:
        adapter: The change.
        folder: Where they go.
        base: Hub id of the model it belongs to, None where it has none.
        revision: Its branch, tag or commit.
    """
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": 1,
        "lora_alpha": 1,  # over r: a scaling of 1
        "lora_dropout": 0.0,
        "target_modules": list(adapter.modules),
        "fan_in_fan_out": adapter.in_out,
        "bias": "none",
        "lora_bias": adapter.biased,
        "inference_mode": True,
    }
    write_json(folder / CONFIG, config)
    save_tensors(folder / WEIGHTS, adapter.tensors)
