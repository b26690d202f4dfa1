"""What long work says while it runs: lines, and bars with time remaining."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from conceptbasis.runs.listening import Listener

Advance = Callable[[int, int, str], None]
"""Called with how much is done, of how much, and a short note."""

_SECONDS_BETWEEN_LINES = 10.0
_R = TypeVar("_R", bound="Reporter")


class Reporter:
    """Prints lines, and progress as a bar on a terminal or as single lines elsewhere.

    Args:
        quiet: Print nothing but errors.
        verbose: Print details too.
        prefix: Stands before each line, for work that runs side by side.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False, prefix: str = "") -> None:
        self.quiet = quiet
        self.verbose = verbose and not quiet
        self.prefix = f"[{prefix}] " if prefix else ""
        self._listener: Listener | None = None

    def heard_by(self: _R, listener: Listener | None) -> _R:
        """The same reporter, whose bars are also told to a listener."""
        other = copy.copy(self)
        other._listener = listener
        return other

    def __getstate__(self) -> dict[str, Any]:
        """In another process nobody listens: a log or a page cannot be sent there."""
        return self.__dict__ | {"_listener": None}

    def say(self, line: str) -> None:
        """Prints one line to standard error, so that standard output stays for results."""
        if not self.quiet:
            print(f"{self.prefix}{line}", file=sys.stderr, flush=True)

    def detail(self, line: str) -> None:
        """Prints one line if details are wanted."""
        if self.verbose:
            self.say(line)

    @contextmanager
    def bar(self, label: str) -> Iterator[Advance]:
        """A bar with the time remaining; yields the function that moves it."""
        with self._shown(label) as show:
            yield show if self._listener is None else self._told(label, show, self._listener)

    def _told(self, label: str, show: Advance, listener: Listener) -> Advance:
        def advance(done: int, of: int, note: str) -> None:
            show(done, of, note)
            listener.on_progress(label, done, of)

        return advance

    @contextmanager
    def _shown(self, label: str) -> Iterator[Advance]:
        if self.quiet:
            yield _silent
        elif sys.stderr.isatty() and not self.prefix:
            with _terminal_bar(label) as advance:
                yield advance
        else:
            yield self._lines(label)

    def _lines(self, label: str) -> Advance:
        started = last = time.monotonic()

        def advance(done: int, of: int, note: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _SECONDS_BETWEEN_LINES and 0 < done < of:
                last = now
                left = (now - started) / done * (of - done)
                self.say(f"{label}: {done}/{of}, about {left:.0f} s left{note and ', ' + note}")

        return advance


def _silent(done: int, of: int, note: str) -> None:
    """Moves no bar."""


@contextmanager
def _terminal_bar(label: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None, note="")

        def advance(done: int, of: int, note: str) -> None:
            progress.update(task, completed=done, total=of, note=note)

        yield advance
