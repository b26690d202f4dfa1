"""Independent pieces of work: one after the other, on several processes, or on a cluster.

An executor applies one function of a module to many items, beside state that all items share.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from conceptbasis.errors import ConfigError
from conceptbasis.runs.on_ray import OnRay
from conceptbasis.runs.where import WHERE, Executor, Lasting, Where, Work

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def serial(
    function: Work, shared: Any, items: Sequence[Any], workers: int
) -> Iterator[tuple[int, Any]]:
    """One item after the other, in this process."""
    for index, item in enumerate(items):
        yield index, function(shared, item)


@dataclass(frozen=True)
class Processes:
    """Several processes with one thread each.

    Args:
        start: `fork` inherits the shared state without a copy; `spawn` sends it once a process.
    """

    start: str = "fork"

    def __call__(
        self, function: Work, shared: Any, items: Sequence[Any], workers: int
    ) -> Iterator[tuple[int, Any]]:
        """Yields (place of the item, result) as results come."""
        context = multiprocessing.get_context(self.start)
        # Items and results go by value: shared memory would keep one file open per tensor.
        sent = ((index, pickle.dumps(item)) for index, item in enumerate(items))
        with context.Pool(workers, _begin, (function, shared)) as pool:
            for index, result in pool.imap_unordered(_apply, sent):
                yield index, pickle.loads(result)


EXECUTORS: dict[str, Executor] = {"serial": serial, "processes": Processes(), "ray": OnRay()}
"""Every executor by name."""


@contextmanager
def working(where: Where) -> Iterator[None]:
    """Inside, `run_all` uses an executor; at the end, what it has started is stopped.

    Args:
        where: The executor with what it needs.

    Raises:
        ConfigError: if there is no such executor, its package is missing, or its cluster cannot
            be reached.
    """
    name = where.executor
    if name is not None and name not in EXECUTORS:
        near = get_close_matches(name, EXECUTORS, n=1)
        raise ConfigError(
            f"executor {name!r}",
            expected=f"one of {', '.join(EXECUTORS)}" + "".join(f"; {n!r}?" for n in near),
            fix="correct the key `executor` or the option --executor",
        )
    executor = None if name is None else EXECUTORS[name]
    token = WHERE.set(where)
    try:
        with executor.opened(where) if isinstance(executor, Lasting) else nullcontext():
            yield
    finally:
        WHERE.reset(token)


def run_all(
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Sequence[Item],
    *,
    workers: int,
    device: str,
) -> Iterator[tuple[int, Result]]:
    """Applies a function to items and yields (place of the item, result) as results come.

    Args:
        function: A function of a module, called with the shared state and an item.
        shared: What all items need, such as a model. It is not changed.
        items: What can be sent to another process.
        workers: Processes of this machine; a single item or worker needs none beside this one.
        device: A process that uses an accelerator cannot be forked, so `processes` are for `cpu`.

    Raises:
        TypeError: if the function is a lambda or lives inside another function.
    """
    _require_sendable(function)
    name = _executor_for(len(items), workers, device)
    yield from EXECUTORS[name](function, shared, items, min(workers, len(items)))


def _executor_for(n_items: int, workers: int, device: str) -> str:
    """The executor that was asked for, where it can be used and there is something to share out."""
    name = WHERE.get().executor or "processes"
    if n_items < 2:
        return "serial"
    if name == "processes":
        return name if workers > 1 and device == "cpu" else "serial"
    return name


def _require_sendable(function: Callable[..., Any]) -> None:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{getattr(function, '__qualname__', function)} cannot be sent to another process; "
            "give a function at the top level of a module and put what it needs into `shared`"
        ) from error


_STATE: dict[str, Any] = {}
"""In a worker process: its function and the shared state, put there by `_begin`."""


def _begin(function: Work, shared: Any) -> None:
    # The parent's thread pool does not survive a fork; one thread needs none. numpy and scipy
    # have pools of their own, which would put several threads on each core.
    torch.set_num_threads(1)
    threadpool_limits(1)
    _STATE.update(function=function, shared=shared)


def _apply(sent: tuple[int, bytes]) -> tuple[int, bytes]:
    index, item = sent
    return index, pickle.dumps(_STATE["function"](_STATE["shared"], pickle.loads(item)))
