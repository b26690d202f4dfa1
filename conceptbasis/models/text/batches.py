"""Works through items in batches that shrink when a device runs out of memory."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from conceptbasis.errors import ModelError

Item = TypeVar("Item")
_FULL = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC")


def run_batches(
    items: Sequence[Item], batch_size: int, work: Callable[[Sequence[Item]], None]
) -> int:
    """Calls `work` on consecutive batches and halves them when memory runs out.

    A batch that did not fit is done again in smaller ones, and the rest stays at that size, so
    `work` must not keep anything of a call that raised.

    Args:
        items: What to work on, in order.
        batch_size: The most items a call; at least 1.
        work: Gets each batch.

    Returns:
        The batch size that fitted in the end.

    Raises:
        ModelError: A single item does not fit.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} is below 1")
    start = 0
    while start < len(items):
        batch = items[start : start + batch_size]
        if _fits(batch, work):
            start += len(batch)
            continue
        if len(batch) == 1:
            raise ModelError(
                "memory runs out at a batch of one",
                expected="room for one text at a time",
                fix="shorten the texts, or load the model with dtype: bfloat16, "
                "device_map: auto or quantization: 8bit",
            )
        batch_size = len(batch) // 2
        warnings.warn(
            f"out of memory at {len(batch)} texts at a time; going on with {batch_size}",
            stacklevel=3,
        )
    return batch_size


def _fits(batch: Sequence[Item], work: Callable[[Sequence[Item]], None]) -> bool:
    """Whether the work could be done; its tensors are gone where it could not."""
    try:
        work(batch)
        return True
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    # After the handler, so that the traceback no longer holds the tensors of the failed call.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _FULL)
