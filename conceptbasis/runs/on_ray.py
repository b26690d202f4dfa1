"""Independent pieces of work as tasks of a Ray cluster: the executor `ray`.

Shared state is put into Ray's object store once a map and read once a worker. Placement, retries
and transport are Ray's own.
"""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from conceptbasis.config.extensions import load_extensions
from conceptbasis.errors import ConceptBasisError, ConfigError, reason
from conceptbasis.runs.where import Where, Work

PATIENCE = 15.0
"""Seconds after which a cluster that does not answer counts as out of reach."""
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
        _require_ray()
        _require_any_gpu(where.device)
        outer, own = self._where, not self._joined
        if not own and _address(outer) != _address(where):
            raise ConfigError(
                f"Ray address {_address(where)!r} while work at {_address(outer)!r} goes on",
                expected="one Ray cluster at a time in a process",
                fix="start this run after the other one, or in another process",
            )
        self._where = where
        try:
            if _address(where) != "local":
                self._join()
            yield
        finally:
            self._where = outer
            if own:  # a run inside another one's cluster leaves it running
                self._leave()

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
        room = IN_FLIGHT * _slots("GPU" if gpus else "CPU")
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
        if self._joined:
            return
        address = _address(self._where)
        if address != "local":
            _require_answer(address)
        try:
            with _quietly():
                _start(address, self._where)
        except Exception as error:  # Ray has no common class of what goes wrong here
            self._leave()
            raise _unreachable(address, reason(error)) from error
        self._joined = True

    def _leave(self) -> None:
        self._joined = False
        import ray

        if ray.is_initialized():
            ray.shutdown()


def _start(address: str, where: Where) -> None:
    import ray

    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": where.workers, "include_dashboard": False}
    # The environment of this process is not handed on: there is no runtime_env.
    ray.init(
        address=address,
        log_to_driver=where.verbose,
        logging_level="info" if where.verbose else "error",
        **own,
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Starts Ray without its statistics of use, and keeps what a SIGTERM does, which it changes."""
    name = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(name)
    handler = signal.getsignal(signal.SIGTERM)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _address(where: Where) -> str:
    # Without an address Ray would join any cluster that someone has started on this machine.
    return where.address or os.environ.get("RAY_ADDRESS") or "local"


def _require_ray() -> None:
    if find_spec("ray") is None:
        raise ConfigError(
            "executor 'ray'",
            expected="the package ray",
            fix="pip install 'conceptbasis[ray]', here and on every node; or leave --executor out",
        )


def _require_any_gpu(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise ConfigError(
            f"device {device!r} with executor 'ray'",
            expected="cpu or cuda: Ray gives every task a GPU of its own",
            fix="--device cuda",
        )


def _require_answer(address: str) -> None:
    """Tries an address in another process, since Ray may end the one that tries."""
    if address != "auto":
        _require_port(address)
    command = [sys.executable, "-c", "import sys, ray; ray.init(sys.argv[1])", address]
    try:
        with _quietly():
            tried = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise _unreachable(address, f"no answer of Ray in {PATIENCE:g} seconds") from error
    if tried.returncode:
        raise _unreachable(address, (tried.stderr.strip().splitlines() or ["?"])[-1])


def _require_port(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(
            f"Ray address {address!r}",
            expected="HOST:PORT, as `ray start --head` prints it, or auto",
            fix="correct --ray-address, the key `ray_address`, or RAY_ADDRESS",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE / 3).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, reason(error)) from error


def _unreachable(address: str, why: str) -> ConfigError:
    return ConfigError(
        f"no Ray cluster can be used at {address!r}: {why}",
        expected="a cluster that answers, with the same versions of Python and Ray as here",
        fix="start one (`ray start --head`), correct --ray-address, or leave it out for a cluster "
        "on this machine",
    )


def _slots(resource: str) -> int:
    """How many tasks can run at once; a task that no node could take would wait for ever."""
    import ray

    n = int(ray.cluster_resources().get(resource, 0))
    if not n:
        raise ConfigError(
            f"a Ray cluster without a {resource}",
            expected=f"at least one {resource}: every task takes one",
            fix="add a node that has one, or use another --device",
        )
    return n


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
    except ray.exceptions.RayError as error:
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
