"""Rows of logits over a large vocabulary, read a few at a time.

A row of 262,144 words takes 1 MB in float32. Each operation on all rows at once goes through main
memory; on one row after the other it stays in the processor's cache, which is several times faster.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_BYTES_IN_CACHE = 2**20
_BYTES_ON_DEVICE = 2**28
"""There each call costs more than the memory it saves, up to this size."""


def rows_at_a_time(logits: Float[Tensor, "n d_vocab"], dtype: torch.dtype) -> int:
    """How many rows are widened at once; at least one."""
    limit = _BYTES_IN_CACHE if logits.device.type == "cpu" else _BYTES_ON_DEVICE
    return max(1, limit // (logits.shape[-1] * dtype.itemsize))


def log_probs_of(
    logits: Float[Tensor, "n d_vocab"], rows: Int[Tensor, " k"], ids: Int[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Log-probability of one token at each of some rows, in float32, in nats.

    Args:
        logits: Of any type.
        rows: Places of rows, in any order.
        ids: The token at each of them.
    """
    n = rows_at_a_time(logits, torch.float32)
    found = [torch.zeros(0, device=logits.device)]
    for some, said in zip(rows.split(n), ids.split(n), strict=True):
        wide = logits[some].float()
        found.append(wide.gather(-1, said[:, None])[:, 0] - wide.logsumexp(-1))
    return torch.cat(found)


def log_probs_of_texts(
    logits: Float[Tensor, "batch pos d_vocab"],
    ids: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Summed log-probability of the tokens of each text after its first, and their number.

    Args:
        logits: After each token.
        ids: The tokens.
        mask: 1 at tokens, 0 at padding.

    Returns:
        Sums in float64, in nats; tokens that count.
    """
    counted = mask[:, 1:].bool()
    row, place = counted.nonzero(as_tuple=True)
    flat, before = logits.flatten(0, 1), row * logits.shape[1] + place
    logs = log_probs_of(flat, before, ids[:, 1:][counted]).double()
    return logs.new_zeros(len(ids)).index_add(0, row, logs), counted.sum(-1)


def kl_of_rows(
    before: Float[Tensor, "n d_vocab"],
    after: Float[Tensor, "n d_vocab"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " n"]:
    """KL(before ‖ after) of the next token at each row, in nats.

    Args:
        before: Logits of one model.
        after: Logits of the other one.
        dtype: In which it is computed.
    """
    n = rows_at_a_time(before, dtype)
    found = [torch.zeros(0, dtype=dtype, device=before.device)]
    for p, q in zip(before.split(n), after.split(n), strict=True):
        log_p, log_q = p.to(dtype).log_softmax(-1), q.to(dtype).log_softmax(-1)
        found.append((log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(found)
