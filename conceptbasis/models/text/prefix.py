"""Hidden states of rows that begin alike: what they share is read once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache


def shared_prefix(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Tokens that all rows begin with, such as a template's system turn.

    Args:
        rows: Token ids.
    """
    first, last = min(rows), max(rows)  # in the order of their tokens, so no row differs earlier
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return tuple(token for token, _ in same)


def hidden_after(
    body: nn.Module, config: Any, rows: Sequence[Sequence[int]], prefix: Sequence[int]
) -> Float[Tensor, "n rest d_model"]:
    """Last hidden states behind a shared prefix, padded on the right; gradients flow through it.

    Right padding needs no mask under causal attention.

    Args:
        body: The model without its head.
        config: Its configuration, which says what each layer caches.
        rows: Token ids, each longer than the prefix and beginning with it.
        prefix: Tokens that are read once; may be empty.
    """
    device = next(body.parameters()).device
    width = max(map(len, rows)) - len(prefix)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row) - len(prefix)] = torch.tensor(row[len(prefix) :])
    cache = None
    if prefix:
        cache = DynamicCache(config=config)
        shared = torch.tensor([list(prefix)], device=device)
        body(input_ids=shared, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(rows))
    out = body(input_ids=ids.to(device), past_key_values=cache, use_cache=bool(prefix))
    hidden: Tensor = out.last_hidden_state
    return hidden
