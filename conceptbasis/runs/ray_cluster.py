"""A Ray cluster: which one, whether it can be used, and joining it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from conceptbasis.errors import ConfigError, reason
from conceptbasis.runs.where import Where

PATIENCE = 30.0
"""Seconds after which a cluster that does not answer counts as out of reach."""


def join(where: Where) -> None:
    """Joins the cluster at an address, or starts one on this machine.

    Args:
        where: Gives address, workers and device.

    Raises:
        ConfigError: if there is none that can be used.
    """
    address = address_of(where)
    if address != "local":
        _require_answer(address)
    try:
        with _quietly():
            _start(address, where)
    except Exception as error:  # Ray has no common class of what goes wrong here
        leave()
        raise (_not_started if address == "local" else _unreachable)(
            address, reason(error)
        ) from error


def leave() -> None:
    """Leaves the cluster; one that was started here is stopped."""
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


def address_of(where: Where) -> str:
    """`local`, `auto`, or where a cluster is."""
    # Without an address Ray would join any cluster that someone has started on this machine.
    return where.address or os.environ.get("RAY_ADDRESS") or "local"


def require_ray() -> None:
    """Refuses an installation without Ray."""
    if find_spec("ray") is None:
        raise ConfigError(
            "executor 'ray'",
            expected="the package ray",
            fix="pip install 'conceptbasis[ray]', here and on every node; or leave --executor out",
        )


def require_any_gpu(device: str) -> None:
    """Refuses a device that names one GPU of several."""
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
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE / 6).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, reason(error)) from error


def _not_started(_: str, why: str) -> ConfigError:
    return ConfigError(
        f"no Ray cluster could be started on this machine: {why}",
        expected="a machine with a free core for half a minute, and room in /tmp and /dev/shm",
        fix="run the same command again when it is less busy (it goes on where it stopped; Ray "
        "waits 30 seconds), join a cluster by --ray-address, or leave --executor out",
    )


def _unreachable(address: str, why: str) -> ConfigError:
    return ConfigError(
        f"no Ray cluster can be used at {address!r}: {why}",
        expected="a cluster that answers, with the same versions of Python and Ray as here",
        fix="start one (`ray start --head`), correct --ray-address, or leave it out for a cluster "
        "on this machine",
    )


def slots(resource: str) -> int:
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
