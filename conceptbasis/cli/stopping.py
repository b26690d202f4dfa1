"""What ends a command from outside: Ctrl-C, SIGTERM and SIGHUP, all with what was opened closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """A signal has come: SIGTERM as batch systems, `kill` and an agent of a sweep send it, or
    SIGHUP as a terminal that is closed sends it."""


_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def raising_on_signals() -> Iterator[None]:
    """Lets signals end a command like an exception, so that logs are marked and children ended.

    A signal that was to be ignored, as `nohup` asks for SIGHUP, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker, which inherits this and has nothing to close
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated(128 + number)

    heard = [n for n in _ENDING if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code_of(error: BaseException) -> int:
    """The exit code with which a command ends for an error, never 0."""
    from conceptbasis.errors import ConceptBasisError

    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code:
        return error.code
    return 2 if isinstance(error, ConceptBasisError) else 1
