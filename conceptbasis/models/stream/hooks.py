"""Edits residual streams by forward hooks that are always removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptbasis.core.edits import projection as formulas
from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import Architecture
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.loading.placement import execution_device
from conceptbasis.models.stream.edit_report import (
    EditReport,
    Scope,
    check_direction,
    check_layer,
    count_edits,
    nothing_edited,
)
from conceptbasis.models.stream.hook_points import replacing_hook

EditMode = Literal["ablate", "affine", "cap", "add", "raise"]


@dataclass(frozen=True)
class Edit:
    """One edit of one layer.

    Args:
        layer: Index of the block.
        direction: Unit vector r.
        mode: `ablate` h - gamma r rᵀh, `affine` h - gamma r rᵀ(h - mean), `cap`
            h - gamma r max(0, gateᵀ(h - mean)), `add` h + amount r, `raise`
            h - gamma r max(0, gateᵀ(h - mean) - threshold).
        mean: The mean of `affine`, `cap` and `raise`.
        amount: The amount of `add`.
        gamma: The strength of every mode but `add`.
        gate: What `raise` and `cap` read; None lets `cap` read along r.
        threshold: Above which reading `raise` acts.
        max_norm: Positions of a higher norm, attention sinks, are left alone; None to edit all.
    """

    layer: int
    direction: Float[Tensor, " d_model"]
    mode: EditMode = "ablate"
    mean: Float[Tensor, " d_model"] | None = None
    amount: float = 0.0
    gamma: float = 1.0
    gate: Float[Tensor, " d_model"] | None = None
    threshold: float = 0.0
    max_norm: float | None = None


@contextmanager
def intervene(
    loaded: LoadedModel,
    edits: Iterable[Edit],
    *,
    scope: Scope = "stream",
) -> Iterator[EditReport]:
    """Edits the model's activations for the duration of the context.

    `stream` edits the output of a block. `writers` edits what attention and MLP (or mixture)
    each add to the stream, after a post norm where there is one. Several edits of one layer
    apply in order. Ablating one direction from all writers leaves what the embedding holds of it.
    Ablating it from the stream at all layers leaves none at the block outputs; within a sequential
    block the MLP still reads what attention wrote, so the two are one edit only where the residual
    branches are parallel.

    Args:
        loaded: The model.
        edits: At least one.
        scope: Where to edit.

    Yields:
        What is edited.

    Raises:
        InterventionError: Nothing to edit, a layer out of range, or a direction that is not a
            finite unit vector of the model's width.
    """
    architecture = loaded.architecture
    by_layer: dict[int, list[Callable[[Tensor], Tensor]]] = {}
    for edit in edits:
        check_layer(architecture, edit.layer)
        stream = scope == "stream"
        formula = edit_function(edit if stream else replace(edit, max_norm=None), architecture)
        by_layer.setdefault(edit.layer, []).append(formula)
    if not by_layer:
        raise nothing_edited()
    with ExitStack() as stack:
        for layer, steps in by_layer.items():
            for module in _edited_modules(architecture, layer, scope):
                stack.enter_context(replacing_hook(module, _chain(steps)))
        yield count_edits(architecture, by_layer, scope=scope)


@contextmanager
def splice(
    loaded: LoadedModel, functions: Mapping[int, Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Replaces the output of blocks by a function of it, as an SAE's reconstruction.

    Args:
        loaded: The model.
        functions: By layer, a function from `(batch, pos, d_model)` to the same shape.

    Yields:
        Nothing.

    Raises:
        InterventionError: No functions, or a layer out of range.
    """
    if not functions:
        raise nothing_edited()
    for layer in functions:
        check_layer(loaded.architecture, layer)
    with ExitStack() as stack:
        for layer, function in functions.items():
            stack.enter_context(replacing_hook(loaded.architecture.blocks[layer], function))
        yield


def edit_function(edit: Edit, architecture: Architecture) -> Callable[[Tensor], Tensor]:
    """The edit as a function of activations `(*, d_model)`; sinks stay as they are.

    Args:
        edit: Of the stream.
        architecture: Says where the block runs; the vectors wait there.

    Raises:
        InterventionError: A direction that is not a finite unit vector of the model's width, or a
            mode without what it reads.
    """
    formula = _formula(edit, architecture)
    return formula if edit.max_norm is None else _sparing(formula, edit.max_norm)


def _formula(edit: Edit, architecture: Architecture) -> Callable[[Tensor], Tensor]:
    where = f"layer {edit.layer}"
    device = execution_device(architecture.blocks[edit.layer])
    r = check_direction(edit.direction, architecture, where).to(device)
    if edit.mode == "ablate":
        return lambda h: formulas.ablate(h, r.to(h.device), gamma=edit.gamma)
    if edit.mode == "add":
        return lambda h: formulas.add(h, r.to(h.device), edit.amount)
    if edit.mode == "affine" and edit.mean is not None:
        mean = edit.mean.to(device)
        return lambda h: formulas.affine(h, r.to(h.device), mean.to(h.device), gamma=edit.gamma)
    if edit.mode == "cap" and edit.mean is not None:
        return _capping(r, edit.mean.to(device), edit)
    if edit.mode == "raise" and edit.mean is not None and edit.gate is not None:
        return _raising(r, edit.gate.to(device), edit.mean.to(device), edit)
    given = ["given" if x is not None else "None" for x in (edit.mean, edit.gate)]
    raise InterventionError(
        f"mode {edit.mode!r} at {where} with mean {given[0]} and gate {given[1]}",
        expected="ablate, add, affine or cap with a mean, or raise with a mean and a gate",
        fix="name one of the modes, and give it what it reads",
    )


def _sparing(formula: Callable[[Tensor], Tensor], most: float) -> Callable[[Tensor], Tensor]:
    """The edit at ordinary positions; sinks hold no content, and what moves them breaks a model."""

    def run(h: Tensor) -> Tensor:
        return torch.where(h.float().norm(dim=-1, keepdim=True) > most, h, formula(h))

    return run


def _capping(r: Tensor, mean: Tensor, edit: Edit) -> Callable[[Tensor], Tensor]:
    gate = None if edit.gate is None else edit.gate.to(mean)

    def run(h: Tensor) -> Tensor:
        read = None if gate is None else gate.to(h.device)
        return formulas.cap(h, r.to(h.device), mean.to(h.device), gamma=edit.gamma, gate=read)

    return run


def _raising(r: Tensor, gate: Tensor, mean: Tensor, edit: Edit) -> Callable[[Tensor], Tensor]:
    def run(h: Tensor) -> Tensor:
        own = (r.to(h.device), gate.to(h.device), mean.to(h.device))
        return formulas.raise_above(h, *own, edit.threshold, gamma=edit.gamma)

    return run


def _edited_modules(architecture: Architecture, layer: int, scope: Scope) -> list[nn.Module]:
    if scope == "stream":
        return [architecture.blocks[layer]]
    if scope == "writers":
        return [architecture.attention_added(layer), architecture.mlp_added(layer)]
    raise InterventionError(
        f"unknown scope {scope!r}", expected="stream or writers", fix="name one of them"
    )


def _chain(steps: list[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    def run(h: Tensor) -> Tensor:
        for step in steps:
            h = step(h)
        return h

    return run
