"""Heads and MLPs as places: reads what each writes, and replaces it during a forward pass.

A head is a slice of the input of the attention writer (`o_proj`), so grouped keys and fused
projections need no case of their own. An MLP, dense or a mixture, is what it adds to the stream,
after a post norm where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from conceptbasis.errors import InterventionError, ModelError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import forward_body
from conceptbasis.models.stream.hook_points import reading_hook, replacing_hook
from conceptbasis.results.circuits import Component


@dataclass(frozen=True)
class Activations:
    """What every head and MLP of a model gave on some prompts.

    Args:
        heads: By layer, the input of the attention writer, `(batch, pos, n_heads · d_head)`.
        mlps: By layer, what the MLP adds to the stream, `(batch, pos, d_model)`.
    """

    heads: tuple[Float[Tensor, "batch pos width"], ...]
    mlps: tuple[Float[Tensor, "batch pos d_model"], ...]

    def mean(self) -> Activations:
        """The mean over the batch at each position, `(1, pos, ·)`."""
        heads = tuple(h.mean(0, keepdim=True) for h in self.heads)
        return Activations(heads, tuple(m.mean(0, keepdim=True) for m in self.mlps))


def count_heads(loaded: LoadedModel) -> int:
    """Attention heads of a block, as the configuration says and the writers confirm.

    Raises:
        ModelError: The width that a writer reads is not a multiple of that number.
    """
    n_heads = int(loaded.model.config.get_text_config().num_attention_heads)
    for layer in range(loaded.architecture.n_layers):
        module = writer_of(loaded, layer)
        width = getattr(module, "in_features", None) or getattr(module, "nx", None)
        if width is None or width % n_heads:
            raise ModelError(
                f"the attention writer of layer {layer} of {loaded.name} reads {width} numbers",
                expected=f"a multiple of its {n_heads} attention heads",
                fix="correct attention_writer in the row of the architecture table",
            )
    return n_heads


def list_components(loaded: LoadedModel) -> list[Component]:
    """All heads and MLPs, layer by layer, heads first."""
    n_heads = count_heads(loaded)
    return [
        Component(layer, head)
        for layer in range(loaded.architecture.n_layers)
        for head in (*range(n_heads), -1)
    ]


def writer_of(loaded: LoadedModel, layer: int) -> nn.Module:
    """The module that writes attention into the stream."""
    return next(iter(loaded.architecture.writers(layer))).module


@torch.no_grad()
def read_components(loaded: LoadedModel, ids: Int[Tensor, "batch pos"]) -> Activations:
    """What every head and MLP gives, in one forward pass.

    Args:
        loaded: The model.
        ids: Token ids without padding.

    Raises:
        ModelError: A writer was not called, so the row of the architecture names a wrong module.
    """
    heads: dict[int, Tensor] = {}
    mlps: dict[int, Tensor] = {}
    layers = range(loaded.architecture.n_layers)
    with ExitStack() as stack:
        for layer in layers:
            keep_head, keep_mlp = _keeper(heads, layer), _keeper(mlps, layer)
            stack.enter_context(_reading_input(writer_of(loaded, layer), keep_head))
            added = loaded.architecture.mlp_added(layer)
            stack.enter_context(reading_hook(added, keep_mlp))
        forward_body(loaded, ids, torch.ones_like(ids))
    if len(heads) < len(layers) or len(mlps) < len(layers):
        raise ModelError(
            f"{loaded.name} does not call every attention writer and MLP in a forward pass",
            expected="one call of each a block",
            fix="correct the model's row of the architecture table",
        )
    return Activations(tuple(heads[i] for i in layers), tuple(mlps[i] for i in layers))


@contextmanager
def replaced(
    loaded: LoadedModel, sets: Sequence[Collection[Component]], given: Activations
) -> Iterator[None]:
    """Lets components give what is given, at every position, for the duration of the context.

    Several sets run side by side: the batch is then the prompts once for each set, in order.

    Args:
        loaded: The model.
        sets: Which components, one set for each repetition of the prompts.
        given: Of as many positions as the prompts; one row serves all prompts.

    Raises:
        InterventionError: A component that the model does not have.
    """
    n_heads, n_layers = count_heads(loaded), loaded.architecture.n_layers
    heads: dict[int, dict[int, list[int]]] = {}
    mlps: dict[int, list[int]] = {}
    for place, components in enumerate(sets):
        for c in components:
            if not (0 <= c.layer < n_layers and -1 <= c.head < n_heads):
                raise _no_such(c, loaded, n_heads)
            if c.head < 0:
                mlps.setdefault(c.layer, []).append(place)
            else:
                heads.setdefault(c.layer, {}).setdefault(place, []).append(c.head)
    with ExitStack() as stack:
        for layer, by_set in heads.items():
            change = _heads_replaced(by_set, len(sets), n_heads, given.heads[layer])
            stack.enter_context(_changing_input(writer_of(loaded, layer), change))
        for layer, places in mlps.items():
            added = loaded.architecture.mlp_added(layer)
            change = _rows_replaced(places, len(sets), given.mlps[layer])
            stack.enter_context(replacing_hook(added, change))
        yield


def _no_such(component: Component, loaded: LoadedModel, n_heads: int) -> InterventionError:
    return InterventionError(
        f"{component.name} of {loaded.name}",
        expected=f"layers 0 to {loaded.architecture.n_layers - 1} and heads 0 to {n_heads - 1}",
        fix="name a component that the model has",
    )


def _heads_replaced(
    by_set: Mapping[int, Sequence[int]], n_sets: int, n_heads: int, new: Tensor
) -> Callable[[Tensor], Tensor]:
    def change(h: Tensor) -> Tensor:
        parts = h.clone().unflatten(0, (n_sets, -1)).unflatten(-1, (n_heads, -1))
        source = new.to(h).unflatten(-1, (n_heads, -1))
        for place, heads in by_set.items():
            parts[place][..., heads, :] = source[..., heads, :]
        return parts.flatten(-2).flatten(0, 1)

    return change


def _rows_replaced(places: Sequence[int], n_sets: int, new: Tensor) -> Callable[[Tensor], Tensor]:
    def change(h: Tensor) -> Tensor:
        parts = h.clone().unflatten(0, (n_sets, -1))
        parts[list(places)] = new.to(h)
        return parts.flatten(0, 1)

    return change


def _keeper(found: dict[int, Tensor], layer: int) -> Callable[[Tensor], None]:
    def keep(h: Tensor) -> None:
        found[layer] = h

    return keep


@contextmanager
def _reading_input(module: nn.Module, function: Callable[[Tensor], None]) -> Iterator[None]:
    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        function(args[0])

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _changing_input(module: nn.Module, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (function(args[0]), *args[1:])

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
