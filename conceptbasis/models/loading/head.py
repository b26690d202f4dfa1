"""The head reads whole rows in memory, whatever slice of positions it is given.

torch 2.13 multiplies a slice such as h[:, -1:] by frozen weights once for each row of the batch,
and in bfloat16 on the CPU it writes the weights out that often: 16 rows over a vocabulary of
262,144 take 9.5 s and 4.6 GB in place of 0.02 s (findings/torch_bfloat16_slice.sh).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def read_whole_rows(model: Any) -> None:
    """Makes what the head reads contiguous, from now on; done once for each head.

    Args:
        model: A transformers model with an output embedding.
    """
    head: nn.Module | None = model.get_output_embeddings()
    if head is not None and _contiguous not in head._forward_pre_hooks.values():
        head.register_forward_pre_hook(_contiguous)


def _contiguous(head: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.contiguous() if isinstance(x, Tensor) else x for x in given)
