"""Where the modules of a model run, and how weights are read that are not plainly in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import WriterSlot


def execution_device(module: nn.Module) -> torch.device:
    """Where a module computes: where accelerate sends its input, or else where its weights are.

    Args:
        module: A module with parameters, or one that accelerate has placed.
    """
    for part in module.modules():
        hook: Any = getattr(part, "_hf_hook", None)
        for one in (hook, *getattr(hook, "hooks", ())):
            device = getattr(one, "execution_device", None)
            if device is not None:
                return torch.device(device)
    return next(module.parameters()).device


def in_memory(module: nn.Module) -> AbstractContextManager[Any]:
    """A context in which a module's own parameters hold their values, also when offloaded."""
    if not any(p.is_meta for p in module.parameters(recurse=False)):
        return nullcontext()
    from accelerate.utils import align_module_device

    return align_module_device(module, execution_device(module))


def iter_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields every parameter once by name, with its values while it is being looked at.

    Args:
        model: Any model, offloaded in part or not.

    Yields:
        Name and parameter, in the order of `named_parameters`.
    """
    wanted = {name for name, _ in model.named_parameters()}
    for prefix, module in model.named_modules():
        own = [name for name, _ in module.named_parameters(recurse=False)]
        names = [(f"{prefix}.{name}" if prefix else name, name) for name in own]
        if not any(full in wanted for full, _ in names):
            continue
        with in_memory(module):
            for full, name in names:
                if full in wanted:
                    yield full, getattr(module, name)


@torch.no_grad()
def read_weight(slot: WriterSlot) -> Tensor:
    """A writer's weight as it acts: as stored, fetched from where it is offloaded, or unpacked.

    A quantised layer is asked for its weight by what it makes of the identity matrix.

    Args:
        slot: The writer.

    Returns:
        The weight in the orientation of the slot; do not write to it.

    Raises:
        InterventionError: A packed weight of a module that is no linear layer.
    """
    if slot.locked is None:
        return getattr(slot.module, slot.weight)
    if "offloaded" in slot.locked:
        with in_memory(slot.module):
            return getattr(slot.module, slot.weight).detach().clone()
    d_in = getattr(slot.module, "in_features", None)
    if d_in is None or slot.n_experts is not None:
        raise InterventionError(
            slot.locked,
            expected="a linear layer, or weights in a floating-point format",
            fix="load the model without quantisation (key `quantization` of its configuration)",
        )
    return _probe(slot, d_in)


def _probe(slot: WriterSlot, d_in: int) -> Float[Tensor, "d_model d_in"]:
    dtype = slot.bias and getattr(slot.module, slot.bias).dtype
    identity = torch.eye(d_in, dtype=dtype or torch.float32, device=execution_device(slot.module))
    written = slot.module(identity).float()
    if slot.bias is not None:
        written = written - getattr(slot.module, slot.bias).float()
    return written.T if slot.orientation == "out_in" else written
