"""Calls of wandb that end: its service can hang, and then its client waits without an end."""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

SECONDS = {"start": 90.0, "finish": 150.0}
"""How long some calls may take; wandb's own limits, where it keeps them, are shorter."""
_OTHERS = 120.0


def call_within(what: str, action: Callable[[], None]) -> None:
    """Runs an action on a thread of its own and waits for it only so long.

    Args:
        what: Names the action, which decides how long it may take.
        action: Any calls of wandb.

    Raises:
        TimeoutError: if it takes longer.
        BaseException: whatever the action raises.
    """
    outcome: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            action()
        except BaseException as error:
            outcome.put(error)
        else:
            outcome.put(None)

    seconds = SECONDS.get(what, _OTHERS)
    Thread(target=work, name=f"wandb {what}", daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error


def is_of_service(error: BaseException) -> bool:
    """Whether an error says that wandb's service is gone or hangs."""
    names = {kind.__name__ for kind in type(error).__mro__}
    gone = {"MailboxClosedError", "HandleAbandonedError", "WandbServiceConnectionError"}
    return isinstance(error, (TimeoutError, ConnectionError)) or bool(names & gone)


def leave_service() -> None:
    """Ends wandb's service, which is gone or hangs, and the wait for it at the end of the process.

    Without this the process would wait for a service that hangs, and print a traceback for one
    that is gone. A later run of the process gets a new service.
    """
    import wandb

    held: Any = wandb.setup()
    connection: Any = getattr(held, "_connection", None)
    if connection is None:
        return
    held._connection = None
    unregister = getattr(connection, "_cleanup", None)
    if unregister is not None:
        unregister()
    process = getattr(getattr(connection, "_proc", None), "_process", None)
    if process is not None:
        process.kill()
    os.environ.pop("WANDB_SERVICE", None)
