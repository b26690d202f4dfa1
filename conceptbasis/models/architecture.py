"""Where each architecture keeps its blocks, residual writers and norms: one table, no guesses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from conceptbasis.errors import ModelError

Orientation = Literal["out_in", "in_out"]
WriterKind = Literal["attention", "mlp", "expert", "shared_expert", "embedding"]


@dataclass(frozen=True)
class ArchitectureRow:
    """Paths of one model family; block paths are relative to a block, the rest to the body.

    Args:
        body: Path from the causal model to the base model (no unembedding).
        blocks: The list of decoder blocks.
        embed: The token embedding.
        position_embed: A learned position embedding that is added to the stream, if any.
        final_norm: The norm before the unembedding.
        unembed: Path from the causal model to the unembedding.
        attention: The attention module of a block.
        attention_writer: The module whose weight writes attention into the stream.
        mlp: The MLP (or mixture) module of a block.
        mlp_writer: The module whose weight writes a dense MLP into the stream.
        experts: The fused 3-D parameter of routed experts, if the family has them.
        experts_bias: The fused bias of routed experts `(n_experts, d_model)`, if any.
        experts_orientation: `out_in` is `(n_experts, d_model, d_mlp)`.
        shared_expert: The writer of the shared expert, if any.
        orientation: `out_in` for `nn.Linear`, `in_out` for Conv1D.
        attention_norm: The norm between the attention writer and the stream, if any.
        mlp_norm: The norm between the MLP writer and the stream, if any.
    """

    body: str = "model"
    blocks: str = "layers"
    embed: str = "embed_tokens"
    position_embed: str | None = None
    final_norm: str = "norm"
    unembed: str = "lm_head"
    attention: str = "self_attn"
    attention_writer: str = "self_attn.o_proj"
    mlp: str = "mlp"
    mlp_writer: str = "mlp.down_proj"
    experts: str | None = None
    experts_bias: str | None = None
    experts_orientation: Orientation = "out_in"
    shared_expert: str | None = None
    orientation: Orientation = "out_in"
    attention_norm: str | None = None
    mlp_norm: str | None = None

    @property
    def post_norm(self) -> bool:
        """True where a norm sits between a writer and the stream."""
        return self.attention_norm is not None or self.mlp_norm is not None


_PRE_NORM = ArchitectureRow()
_MIXTURE = replace(_PRE_NORM, experts="mlp.experts.down_proj")
_POST_NORM = replace(
    _PRE_NORM,
    attention_norm="post_attention_layernorm",
    mlp_norm="post_feedforward_layernorm",
)

ARCHITECTURES: dict[str, ArchitectureRow] = {
    "llama": _PRE_NORM,
    "mistral": _PRE_NORM,
    "qwen2": _PRE_NORM,
    "qwen3": _PRE_NORM,
    "gemma": _PRE_NORM,
    "phi3": _PRE_NORM,
    "gemma2": _POST_NORM,
    "gemma3_text": _POST_NORM,
    "olmo2": _POST_NORM,
    "mixtral": _MIXTURE,
    "qwen3_moe": _MIXTURE,
    "qwen2_moe": replace(_MIXTURE, shared_expert="mlp.shared_expert.down_proj"),
    "gpt2": ArchitectureRow(
        body="transformer",
        blocks="h",
        embed="wte",
        position_embed="wpe",
        final_norm="ln_f",
        attention="attn",
        attention_writer="attn.c_proj",
        mlp_writer="mlp.c_proj",
        orientation="in_out",
    ),
    "gpt_neox": ArchitectureRow(
        body="gpt_neox",
        embed="embed_in",
        final_norm="final_layer_norm",
        attention="attention",
        attention_writer="attention.dense",
        mlp_writer="mlp.dense_4h_to_h",
    ),
}


@dataclass(frozen=True)
class WriterSlot:
    """One parameter of a block (or of the embedding) that writes into the residual stream.

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
        fix="correct the row, or use the transformers version it was written for",
    )


def resolve(model: nn.Module) -> Architecture:
    """Binds the row of the model's type to its modules and checks every writer's shape.

    Args:
        model: A transformers causal language model.

    Returns:
        The bound architecture.

    Raises:
        ModelError: Unknown model type, a path that does not exist, or a writer whose shape
            does not fit d_model.
    """
    config: Any = model.config
    row = ARCHITECTURES.get(config.model_type)
    if row is None:
        raise ModelError(
            f"unknown model type {config.model_type!r}; its modules are:\n{module_tree(model)}",
            expected=f"one of {', '.join(sorted(ARCHITECTURES))}",
            fix="add a row to ARCHITECTURES in conceptbasis/models/architecture.py that names "
            "the blocks, the embedding, the attention and MLP writers and any norm after them",
        )
    body = _get(model, row.body, None)
    if body is None:
        raise _missing(config.model_type, row.body, model)
    found = {name: _get(body, getattr(row, name), None) for name in ("blocks", "embed")}
    found["final_norm"] = _get(body, row.final_norm, None)
    found["unembed"] = _get(model, row.unembed, None)
    for name, module in found.items():
        if module is None:
            raise _missing(config.model_type, getattr(row, name), model)
    found["blocks"] = tuple(found["blocks"])
    position = _get(body, row.position_embed) if row.position_embed else None
    d_vocab, d_model = found["embed"].weight.shape
    sizes = {"d_model": d_model, "d_vocab": d_vocab}
    bound = Architecture(config.model_type, row, body, position_embed=position, **sizes, **found)
    _check_writers(bound)
    return bound


def _check_writers(architecture: Architecture) -> None:
    for layer in range(architecture.n_layers):
        for slot in architecture.writers(layer):
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
