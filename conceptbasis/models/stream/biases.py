"""A vector that is added to a block's output, as part of the bias of its MLP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import Architecture
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.edit_report import (
    EditReport,
    check_layer,
    count_edits,
    nothing_edited,
)


@contextmanager
def add_to_biases(
    loaded: LoadedModel, vectors: Mapping[int, Float[Tensor, " d_model"]]
) -> Iterator[EditReport]:
    """Adds a vector to the output of blocks, in the biases of their MLPs.

    Formula: b + v. The bias is the last thing that a block adds to the stream, so this is what a
    hook does that adds v to the block's output at every position.

    Args:
        loaded: The model.
        vectors: By layer, what is added, in units of the stream.

    Yields:
        What is edited. The old biases are put back on exit.

    Raises:
        InterventionError: Nothing to edit, a layer out of range, or an MLP without a plain bias.
    """
    if not vectors:
        raise nothing_edited()
    modules = {layer: _biased_module(loaded.architecture, layer) for layer in vectors}
    old: dict[int, Tensor] = {layer: module.bias for layer, module in modules.items()}
    try:
        for layer, module in modules.items():
            bias = old[layer]
            moved = bias.float() + vectors[layer].to(bias.device, torch.float32)
            module.bias = nn.Parameter(moved.to(bias.dtype), requires_grad=False)
        yield count_edits(loaded.architecture, vectors, scope="stream")
    finally:
        for layer, module in modules.items():
            module.bias = old[layer]


def _biased_module(architecture: Architecture, layer: int) -> Any:
    check_layer(architecture, layer)
    slots = [slot for slot in architecture.writers(layer) if slot.kind != "attention"]
    slot = slots[0]
    plain = len(slots) == 1 and slot.n_experts is None and slot.bias == "bias" and not slot.locked
    if not plain or architecture.post_norm:
        raise InterventionError(
            f"an addition to the stream as a bias of {slot.name} in {architecture.model_type}",
            expected="a dense MLP in memory that has a bias, as GPT-2 and Pythia have, with no "
            "norm after it",
            fix="use --json, whose hooks do the same on any model",
        )
    return slot.module
