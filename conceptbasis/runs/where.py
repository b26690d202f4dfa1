"""What an executor is, and where the work of a run is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Work = Callable[[Any, Any], Any]
"""A function of a module, called with the shared state and an item."""


@dataclass(frozen=True)
class Where:
    """Where the work of a run is done.

    Args:
        executor: A name of `EXECUTORS`; None is several processes on a CPU, else this process.
        address: The cluster of an executor that has one; None for a cluster on this machine.
        workers: Workers of a cluster on this machine.
        device: A torch device.
        extensions: Files that a worker on another machine runs before anything else.
        verbose: Whether what workers print is shown.
    """

    executor: str | None = None
    address: str | None = None
    workers: int = 1
    device: str = "cpu"
    extensions: tuple[str, ...] = ()
    verbose: bool = False


class Executor(Protocol):
    """Applies a function to items; one file each, registered in `EXECUTORS`."""

    def __call__(
        self, function: Work, shared: Any, items: Sequence[Any], workers: int
    ) -> Iterator[tuple[int, Any]]:
        """Yields (place of the item, result) as results come."""
        ...


@runtime_checkable
class Lasting(Protocol):
    """An executor that keeps something from one map to the next, such as a cluster."""

    def opened(self, where: Where) -> AbstractContextManager[None]:
        """Refuses what cannot work; at its end, everything that was started is stopped."""
        ...


_ANYWHERE = Where()
WHERE: ContextVar[Where] = ContextVar("where", default=_ANYWHERE)
"""Where the work of the run that is going on is done; set by `executor.working`."""
