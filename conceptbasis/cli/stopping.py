"""What ends a command from outside: Ctrl-C and SIGTERM, both with what was opened closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM has come, as batch systems, `kill` and an agent of a sweep send it."""


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM end a command like an exception, so that logs are marked and children ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker, which inherits this and has nothing to close
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        raise Terminated(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code_of(error: BaseException) -> int:
    """The exit code with which a command ends for an error, never 0."""
    from conceptbasis.errors import ConceptBasisError

    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code:
        return error.code
    return 2 if isinstance(error, ConceptBasisError) else 1
