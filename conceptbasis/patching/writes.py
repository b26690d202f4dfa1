"""What each head and MLP writes at the end of a clean prompt, less that of a corrupted one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.components import count_heads, read_components, writer_of
from conceptbasis.patching.tasks.base import TokenPairs
from conceptbasis.results.circuits import Component

_BATCH = 32


@torch.no_grad()
def mean_writes(
    loaded: LoadedModel, given: TokenPairs
) -> dict[Component, Float[Tensor, " d_model"]]:
    """Mean over pairs of what each component adds to the stream at the last position, clean less
    corrupted.

    A head adds its slice through the attention writer. Where a norm follows, each coordinate is
    scaled as the norm scaled the sum of all heads there.

    Args:
        loaded: The model.
        given: Pairs of a task.
    """
    sums: dict[Component, Tensor] = {}
    n = 0
    for clean, corrupted in _batches(given):
        n += len(clean)
        for ids, sign in ((clean, 1.0), (corrupted, -1.0)):
            for component, written in _written(loaded, ids):
                total = sign * written.double().sum(0).cpu()
                sums[component] = sums[component] + total if component in sums else total
    return {component: total / n for component, total in sums.items()}


def _batches(given: TokenPairs) -> Iterator[tuple[Tensor, Tensor]]:
    by_length: dict[int, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for pair in given.pairs:
        by_length.setdefault(len(pair.clean), []).append((pair.clean, pair.corrupted))
    for rows in by_length.values():
        for start in range(0, len(rows), _BATCH):
            clean, corrupted = zip(*rows[start : start + _BATCH], strict=True)
            yield torch.tensor(clean), torch.tensor(corrupted)


def _written(loaded: LoadedModel, ids: Tensor) -> Iterator[tuple[Component, Tensor]]:
    found, n_heads = read_components(loaded, ids), count_heads(loaded)
    added = None
    if loaded.architecture.row.attention_norm is not None:
        layers = range(loaded.architecture.n_layers)
        mask = torch.ones_like(ids)
        added = capture(loaded, ids, mask, layers=layers, site="attn_out")
    for layer, (heads, mlp) in enumerate(zip(found.heads, found.mlps, strict=True)):
        writer, z = writer_of(loaded, layer), heads[:, -1]
        nothing, whole = writer(torch.zeros_like(z)), writer(z)
        scale = torch.ones_like(whole)
        if added is not None:
            scale = torch.where(whole.abs() > 1e-9, added[layer][:, -1].to(whole) / whole, 0.0)
        parts = z.unflatten(-1, (n_heads, -1))
        for head in range(n_heads):
            alone = torch.zeros_like(parts)
            alone[:, head] = parts[:, head]
            yield Component(layer, head), scale * (writer(alone.flatten(-2)) - nothing)
        yield Component(layer), mlp[:, -1]
