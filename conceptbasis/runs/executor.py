"""Independent pieces of work on several processes that inherit models and data by fork."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORK: tuple[Callable[[Any], Any], Sequence[Any]] | None = None
"""Set before the workers are forked, so that nothing has to be copied to them."""


def map_unordered(
    work: Callable[[Item], Result], items: Sequence[Item], *, n_workers: int, device: str
) -> Iterator[tuple[int, Result]]:
    """Applies `work` to items and yields (index, result) as results come.

    Args:
        work: May close over models and data; its results are pickled back.
        items: What it is applied to.
        n_workers: Processes, each with one thread; one runs in this process.
        device: A process that uses an accelerator cannot be forked, so only `cpu` is.
    """
    global _WORK
    if min(n_workers, len(items)) < 2 or device != "cpu":
        for index, item in enumerate(items):
            yield index, work(item)
        return
    _WORK = (work, items)
    try:
        context = multiprocessing.get_context("fork")
        with context.Pool(min(n_workers, len(items)), _single_thread) as pool:
            for index, result in pool.imap_unordered(_apply, range(len(items))):
                yield index, pickle.loads(result)
    finally:
        _WORK = None


def _single_thread() -> None:
    # The parent's thread pool does not survive the fork; one thread needs none. numpy and scipy
    # have pools of their own, which would put several threads on each core.
    torch.set_num_threads(1)
    threadpool_limits(1)


def _apply(index: int) -> tuple[int, bytes]:
    assert _WORK is not None
    work, items = _WORK
    # By value: shared memory would keep one file open per tensor.
    return index, pickle.dumps(work(items[index]))
