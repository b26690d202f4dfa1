"""Binds a row of the architecture table to the modules of one model and checks what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from conceptbasis.errors import ModelError
from conceptbasis.models.architecture.table import ARCHITECTURES, ArchitectureRow, Orientation

WriterKind = Literal["attention", "mlp", "expert", "shared_expert"]
_PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class WriterSlot:
    """One parameter of a block that writes into the residual stream.

    Args:
        name: Dotted name inside the model, for messages.
        kind: What it belongs to.
        module: The module that owns the parameter.
        weight: Attribute of the weight in `module`.
        bias: Attribute of the bias in `module`, or None.
        orientation: `out_in` when d_model is the row axis.
        n_experts: Number of fused experts, or None for a plain matrix.
    """

    name: str
    kind: WriterKind
    module: nn.Module
    weight: str
    bias: str | None
    orientation: Orientation
    n_experts: int | None = None

    @property
    def locked(self) -> str | None:
        """Why the weight cannot be edited in place, or None where it can."""
        weight = getattr(self.module, self.weight, None)
        if weight is None or weight.dtype not in _PLAIN:
            stored = "packed" if weight is None else f"stored as {str(weight.dtype)[6:]}"
            return f"{self.name} is quantised ({stored})"
        if weight.is_meta:
            return f"{self.name} is offloaded: its values are not in memory"
        return None


@dataclass(frozen=True)
class Architecture:
    """A table row bound to the modules of one model. Made by `resolve`."""

    model_type: str
    row: ArchitectureRow
    body: nn.Module
    blocks: tuple[nn.Module, ...]
    embed: nn.Module
    position_embed: nn.Module | None
    final_norm: nn.Module
    unembed: nn.Module
    d_model: int
    d_vocab: int

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self.blocks)

    @property
    def post_norm(self) -> bool:
        """True where a norm sits between a writer and the stream, so weight edits do not hold."""
        return self.row.post_norm

    @property
    def tied(self) -> bool:
        """True when embedding and unembedding are one parameter."""
        return getattr(self.embed, "weight", None) is getattr(self.unembed, "weight", None)

    def weight_obstacle(self) -> str | None:
        """Why weight edits do not hold or cannot be made on this model, or None where they can."""
        if self.post_norm:
            return f"{self.model_type}, whose writers are followed by a norm"
        slots = (slot for layer in range(self.n_layers) for slot in self.writers(layer))
        locked = next((slot.locked for slot in slots if slot.locked), None)
        return f"{self.model_type}: {locked}" if locked else None

    def attention_added(self, layer: int) -> nn.Module:
        """The module whose output is what attention adds to the stream."""
        return _get(self.blocks[layer], self.row.attention_norm or self.row.attention)

    def mlp_added(self, layer: int) -> nn.Module:
        """The module whose output is what the MLP or the mixture adds to the stream."""
        return _get(self.blocks[layer], self.row.mlp_norm or self.row.mlp)

    def writers(self, layer: int) -> Iterator[WriterSlot]:
        """Yields the writers of one block: attention, then experts or dense MLP, then shared.

        Raises:
            ModelError: The block has neither a dense MLP writer nor fused experts.
        """
        row, block = self.row, self.blocks[layer]
        yield self._slot(layer, "attention", row.attention_writer)
        if row.experts is not None and _get(block, row.experts, None) is not None:
            yield self._fused(layer, row.experts, row.experts_bias)
            if row.shared_expert is not None:
                yield self._slot(layer, "shared_expert", row.shared_expert)
        else:
            yield self._slot(layer, "mlp", row.mlp_writer)

    def _slot(self, layer: int, kind: WriterKind, path: str) -> WriterSlot:
        module = _get(self.blocks[layer], path, None)
        if module is None:
            raise _missing(self.model_type, f"blocks[{layer}].{path}", self.blocks[layer])
        bias = "bias" if getattr(module, "bias", None) is not None else None
        name = f"{layer}.{path}"
        return WriterSlot(name, kind, module, "weight", bias, self.row.orientation)

    def _fused(self, layer: int, path: str, bias_path: str | None) -> WriterSlot:
        owner, _, weight = path.rpartition(".")
        module = _get(self.blocks[layer], owner)
        bias = bias_path.rpartition(".")[2] if bias_path else None
        n_experts = getattr(module, weight).shape[0]
        orientation = self.row.experts_orientation
        return WriterSlot(f"{layer}.{path}", "expert", module, weight, bias, orientation, n_experts)


_REQUIRED = object()


def _get(root: Any, path: str, default: Any = _REQUIRED) -> Any:
    for part in path.split("."):
        root = getattr(root, part, None)
        if root is None:
            if default is _REQUIRED:
                raise AttributeError(path)
            return default
    return root


def module_tree(model: nn.Module, depth: int = 4) -> str:
    """The top levels of a model's module tree, with only the first entry of each list.

    Args:
        model: Any module.
        depth: How many levels to print.

    Returns:
        One line per module, indented by level.
    """
    lines = [type(model).__name__]

    def walk(module: nn.Module, level: int) -> None:
        children = list(module.named_children())
        shown = children[:1] if isinstance(module, nn.ModuleList) else children
        for name, child in shown:
            lines.append("  " * level + f"{name}: {type(child).__name__}")
            if level < depth:
                walk(child, level + 1)

    walk(model, 1)
    return "\n".join(lines)


def _missing(model_type: str, path: str, root: nn.Module) -> ModelError:
    return ModelError(
        f"{model_type} has no {path}; its modules are:\n{module_tree(root)}",
        expected="the paths of the model type's row in conceptbasis/models/architecture.py",
        fix="correct the row (or the key `architecture` of the model configuration), or use the "
        "transformers version it was written for",
    )


def _unknown(model: nn.Module, model_type: str) -> ModelError:
    return ModelError(
        f"unknown model type {model_type!r}; its modules are:\n{module_tree(model)}",
        expected=f"one of {', '.join(sorted(ARCHITECTURES))}",
        fix="name the paths that differ from Llama's in the key `architecture` of the model "
        "configuration, such as {like: llama, attention_writer: self_attn.dense}, or add a row "
        "to ARCHITECTURES in conceptbasis/models/architecture.py: the blocks, the embedding, the "
        "attention and MLP writers and any norm after them",
    )


def resolve(model: nn.Module, row: ArchitectureRow | None = None) -> Architecture:
    """Binds the row of the model's type to its modules and checks every writer's shape.

    Args:
        model: A transformers causal language model.
        row: A row of the user's own; the table's when None.

    Returns:
        The bound architecture.

    Raises:
        ModelError: Unknown model type, a path that does not exist, or a writer whose shape
            does not fit d_model.
    """
    config: Any = model.config
    row = row or ARCHITECTURES.get(config.model_type)
    if row is None:
        raise _unknown(model, config.model_type)
    body = _get(model, row.body, None)
    if body is None:
        raise _missing(config.model_type, row.body, model)
    wanted = {name: (body, getattr(row, name)) for name in ("blocks", "embed", "final_norm")}
    wanted["unembed"] = (model, row.unembed)
    if row.position_embed is not None:
        wanted["position_embed"] = (body, row.position_embed)
    found: dict[str, Any] = {"position_embed": None}
    for name, (root, path) in wanted.items():
        found[name] = _get(root, path, None)
        if found[name] is None:
            raise _missing(config.model_type, path, model)
    found["blocks"] = tuple(found["blocks"])
    d_vocab, d_model = found["embed"].weight.shape
    bound = Architecture(config.model_type, row, body, d_model=d_model, d_vocab=d_vocab, **found)
    _check_block_paths(bound)
    _check_writers(bound)
    return bound


def _check_block_paths(architecture: Architecture) -> None:
    row = architecture.row
    for path in (row.attention, row.mlp, row.attention_norm, row.mlp_norm):
        for layer, block in enumerate(architecture.blocks):
            if path is not None and _get(block, path, None) is None:
                raise _missing(architecture.model_type, f"blocks[{layer}].{path}", block)


def _check_writers(architecture: Architecture) -> None:
    for layer in range(architecture.n_layers):
        for slot in architecture.writers(layer):
            if slot.locked and "quantised" in slot.locked:
                continue  # its shape is that of the packing
            weight: Tensor = getattr(slot.module, slot.weight)
            n_axes = 2 if slot.n_experts is None else 3
            axis = -2 if slot.orientation == "out_in" else -1
            bias: Tensor | None = getattr(slot.module, slot.bias) if slot.bias else None
            fits = weight.ndim == n_axes and weight.shape[axis] == architecture.d_model
            if not fits or (bias is not None and bias.shape[-1] != architecture.d_model):
                raise ModelError(
                    f"{slot.name} has shape {tuple(weight.shape)}"
                    + (f" and bias {tuple(bias.shape)}" if bias is not None else ""),
                    expected=f"{n_axes} axes with d_model = {architecture.d_model} on axis {axis}",
                    fix=f"correct the {architecture.model_type} row of the architecture table",
                )
