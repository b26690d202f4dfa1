"""Independent pieces of work as tasks of a Ray cluster: the executor `ray`.

Shared state is put into Ray's object store once a map and read once a worker. Placement, retries
and transport are Ray's own.
"""

from __future__ import annotations

import itertools
import os
import pickle
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from conceptbasis.config.extensions import load_extensions
from conceptbasis.errors import ConceptBasisError, ConfigError, reason
from conceptbasis.runs.ray_cluster import (
    address_of,
    join,
    leave,
    require_any_gpu,
    require_ray,
    slots,
)
from conceptbasis.runs.where import Where, Work

IN_FLIGHT = 2
"""Tasks in Ray's hands for each that can run: the next one waits at its worker, and results of
many items do not fill the object store."""
RETRIES = 3
"""How often Ray gives a task to another worker when its own dies."""


class OnRay:
    """Tasks of a Ray cluster: one core each, and one GPU each where the device is `cuda`.

    A cluster on this machine is started at the first map and stopped at the end of the run; one
    at an address is joined at once and only left.
    """

    def __init__(self) -> None:
        self._where = Where()
        self._joined = False

    @contextmanager
    def opened(self, where: Where) -> Iterator[None]:
        """Refuses what cannot work; at the end of the run the cluster is left.

        Raises:
            ConfigError: if Ray is not installed, if the device names one GPU of several, or if
                there is no cluster at the address.
        """
        require_ray()
        require_any_gpu(where.device)
        outer, own = self._where, not self._joined
        if not own and address_of(outer) != address_of(where):
            raise ConfigError(
                f"Ray address {address_of(where)!r} while work at {address_of(outer)!r} goes on",
                expected="one Ray cluster at a time in a process",
                fix="start this run after the other one, or in another process",
            )
        self._where = where
        try:
            if address_of(where) != "local":
                self._join()
            yield
        finally:
            self._where = outer
            if own:  # a run inside another one's cluster leaves it running
                self._joined = False
                leave()

    def __call__(
        self, function: Work, shared: Any, items: Sequence[Any], workers: int
    ) -> Iterator[tuple[int, Any]]:
        """Yields (place of the item, result) as results come.

        Raises:
            ConceptBasisError: if workers die again and again. What a task raises is raised here as
                it is, with its traceback as the cause.
        """
        import ray

        self._join()
        gpus = 0 if self._where.device == "cpu" else 1
        task = ray.remote(_apply).options(
            num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False
        )
        room = IN_FLIGHT * slots("GPU" if gpus else "CPU")
        # In a list, a reference is not resolved for each task: a worker reads it once a map.
        state = [ray.put((function, shared))]
        begin = _Begin(Path.cwd(), [p for p in sys.path if p], self._where.extensions, state)
        waiting: dict[Any, int] = {}
        left = iter(enumerate(items))
        try:
            while True:
                for index, item in itertools.islice(left, room - len(waiting)):
                    # Items and results go by value: Ray would give arrays that cannot be written.
                    waiting[task.remote(begin, pickle.dumps(item))] = index
                if not waiting:
                    return
                for done in ray.wait(list(waiting))[0]:
                    yield waiting.pop(done), pickle.loads(_result(done))
        finally:
            for other in waiting:
                # A worker that is interrupted in an edit would keep it, so it is not used again.
                ray.cancel(other, force=True)

    def _join(self) -> None:
        if not self._joined:
            join(self._where)
            self._joined = True


def _gave_up() -> tuple[type[Exception], ...]:
    from ray import exceptions

    return exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError


def _result(done: Any) -> bytes:
    """A result; what a task raised is raised here as it is.

    Raises:
        ConceptBasisError: if Ray has given up on it.
    """
    import ray

    try:
        found: bytes = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception) and not isinstance(
            error.cause, ray.exceptions.RayError
        ):
            raise error.cause from error
        raise
    except _gave_up() as error:
        raise ConceptBasisError(
            f"Ray gave a piece of work up after {RETRIES + 1} tries: {reason(error)}",
            expected="workers that live until their work is done",
            fix="look for what killed them, most often memory: fewer workers on a node, or smaller "
            "batches",
        ) from error
    return found


@dataclass(frozen=True)
class _Begin:
    """What makes a worker ready for a map: the run's folder, import path, extensions and state."""

    folder: Path
    imports: Sequence[str]
    extensions: Sequence[str]
    state: Sequence[Any]


_STATE: dict[str, Any] = {}
"""In a worker process: the function and the shared state of the last map, and which map it was."""


def _apply(begin: _Begin, item: bytes) -> bytes:
    if _STATE.get("map") != begin.state[0].hex():
        _make_ready(begin)
    return pickle.dumps(_STATE["function"](_STATE["shared"], pickle.loads(item)))


def _make_ready(begin: _Begin) -> None:
    import ray

    torch.set_num_threads(1)
    threadpool_limits(1)
    if not begin.folder.is_dir():
        raise ConfigError(
            f"the node {socket.gethostname()} has no folder {begin.folder}",
            expected="the folder in which the command was started, on every node",
            fix="start the command in a folder that all nodes share (docs/scale.md)",
        )
    os.chdir(begin.folder)
    sys.path.extend(p for p in begin.imports if p not in sys.path)
    load_extensions(begin.extensions)
    _STATE.clear()  # before the next state is read, so that there are never two
    function, shared = ray.get(begin.state[0])
    _STATE.update(map=begin.state[0].hex(), function=function, shared=shared)
