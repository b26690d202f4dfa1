"""Edits residual writers in memory and puts them back bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptbasis.core.edits.projection import orthogonalise
from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import Architecture, WriterKind, WriterSlot
from conceptbasis.models.architecture.table import Orientation
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.loading.placement import read_weight
from conceptbasis.models.stream.edit_report import (
    EditReport,
    check_direction,
    check_layer,
    count_edits,
    nothing_edited,
)


@dataclass(frozen=True)
class Writer:
    """One matrix that writes into the residual stream.

    Args:
        name: Dotted name inside the blocks.
        kind: What it belongs to.
        parameter: The matrix as stored (a view of one expert for fused experts).
        orientation: `out_in` when d_model is the row axis.
        bias: The bias that is added with it, or None.
        expert: The expert's index, or None.
    """

    name: str
    kind: WriterKind
    parameter: Tensor
    orientation: Orientation
    bias: Tensor | None
    expert: int | None = None

    @property
    def matrix(self) -> Float[Tensor, "d_model d_in"]:
        """The matrix with the stream on its rows."""
        return self.parameter if self.orientation == "out_in" else self.parameter.T


def iter_residual_writers(loaded: LoadedModel, layer: int) -> Iterator[Writer]:
    """Yields every matrix by which a block writes into the stream, each expert on its own.

    Args:
        loaded: The model.
        layer: Index of the block.

    Yields:
        Attention, then the dense MLP, or each routed expert and then the shared one.

    Raises:
        InterventionError: The layer is out of range.
    """
    check_layer(loaded.architecture, layer)
    for slot in loaded.architecture.writers(layer):
        weight = read_weight(slot)
        bias: Tensor | None = getattr(slot.module, slot.bias) if slot.bias else None
        if slot.n_experts is None:
            yield Writer(slot.name, slot.kind, weight, slot.orientation, bias)
            continue
        for expert in range(slot.n_experts):
            yield Writer(
                f"{slot.name}[{expert}]",
                slot.kind,
                weight[expert],
                slot.orientation,
                bias[expert] if bias is not None else None,
                expert,
            )


def writer_matrices(loaded: LoadedModel, layer: int) -> list[Float[Tensor, "d_model d_in"]]:
    """The residual writers of one block with the stream on their rows, for the guard.

    Args:
        loaded: The model.
        layer: Index of the block.

    Returns:
        Views of the parameters; do not write to them.

    Raises:
        InterventionError: The layer is out of range.
    """
    return [writer.matrix for writer in iter_residual_writers(loaded, layer)]


def check_weight_edits(architecture: Architecture) -> None:
    """Raises where the writers' weights cannot be edited, so that it can be said before any work.

    Args:
        architecture: The model's architecture.

    Raises:
        InterventionError: A norm follows the writers, or they are quantised or offloaded.
    """
    if obstacle := architecture.weight_obstacle():
        raise InterventionError(
            f"weight edits on {obstacle}",
            expected="a model whose writers are plain weights that add to the stream directly",
            fix="use mode ablate with scope writers or stream, which edit by hooks",
        )


@contextmanager
def orthogonalise_weights(
    loaded: LoadedModel,
    directions: Mapping[int, Float[Tensor, " d_model"]],
    *,
    gamma: float = 1.0,
    which: Literal["all", "attention"] = "all",
) -> Iterator[EditReport]:
    """Edits W - γ r rᵀW on the output side of the writers, for the duration of the context.

    Biases are edited too: they are added to the stream with the product. The edited
    parameters are new ones and the old ones are put back on exit, so the restoration is exact
    whatever happened.

    Args:
        loaded: The model.
        directions: A unit vector by layer.
        gamma: 1 removes the direction, 2 reflects it, below 0 strengthens it.
        which: All writers, or attention only.

    Yields:
        What is edited.

    Raises:
        InterventionError: Nothing to edit, a norm sits between writer and stream, weights that
            are quantised or offloaded, a layer out of range, an unknown `which`, or a direction
            that is not a finite unit vector.

    Source: Arditi et al. 2024 (2406.11717), weight orthogonalisation.
    """
    architecture = loaded.architecture
    if which not in ("all", "attention"):
        raise InterventionError(
            f"unknown writers {which!r}", expected="all or attention", fix="name one of them"
        )
    if not directions:
        raise nothing_edited()
    check_weight_edits(architecture)
    slots = _chosen_slots(loaded, directions, which)
    restore: list[Callable[[], None]] = []
    try:
        for slot, r in slots:
            _swap(slot, r, gamma, restore)
        yield count_edits(architecture, directions, attention_only=which == "attention")
    finally:
        for put_back in reversed(restore):
            put_back()


def _chosen_slots(
    loaded: LoadedModel, directions: Mapping[int, Tensor], which: str
) -> list[tuple[WriterSlot, Tensor]]:
    """Every writer to edit with its direction; all are checked before any is edited."""
    slots = []
    for layer, r in directions.items():
        check_layer(loaded.architecture, layer)
        check_direction(r, loaded.architecture, f"layer {layer}")
        for slot in loaded.architecture.writers(layer):
            if which == "all" or slot.kind == "attention":
                slots.append((slot, r))
    for slot, _ in slots:
        if slot.locked is not None:
            raise InterventionError(
                f"weight edits where {slot.locked}",
                expected="weights in memory in a floating-point format",
                fix="edit by hooks (mode ablate), or load the model unquantised on one device",
            )
    return slots


@torch.no_grad()
def _swap(slot: WriterSlot, r: Tensor, gamma: float, restore: list[Callable[[], None]]) -> None:
    """Puts an edited parameter in the place of the writer's weight, and of its bias."""
    weight: Tensor = getattr(slot.module, slot.weight)
    r = r.to(weight.device)
    if slot.n_experts is None:
        _replace(slot.module, slot.weight, _edited(weight, r, gamma, slot.orientation), restore)
    else:
        experts = [_edited(expert, r, gamma, slot.orientation) for expert in weight]
        _replace(slot.module, slot.weight, torch.stack(experts), restore)
    if slot.bias is not None:
        bias: Tensor = getattr(slot.module, slot.bias)
        # A bias (or a row of biases) is a writer with the stream on its last axis.
        flat = _edited(bias.reshape(-1, bias.shape[-1]), r, gamma, "in_out")
        _replace(slot.module, slot.bias, flat.reshape(bias.shape), restore)


def _edited(weight: Tensor, r: Tensor, gamma: float, orientation: Orientation) -> Tensor:
    if orientation == "out_in":
        return orthogonalise(weight, r, gamma=gamma)
    return orthogonalise(weight.T, r, gamma=gamma).T.contiguous()


def _replace(
    module: nn.Module, name: str, value: Tensor, restore: list[Callable[[], None]]
) -> None:
    original = getattr(module, name)
    restore.append(lambda: setattr(module, name, original))
    setattr(module, name, nn.Parameter(value, requires_grad=original.requires_grad))
