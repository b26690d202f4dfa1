"""Disks that are full or cannot be written, from the middle of a run on.

The run folder is a small file system in memory, or is made immutable, which stops root too. Both
ask for rights; where they are missing, nothing is tried and the table says so.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.faults.run import Running, Subject
from benchmarks.faults.table import Try

_MEGABYTES = 64


def full(subject: Subject) -> Iterator[Try]:
    """No space before the start, and from every stage on."""
    place = subject.work / "small"
    place.mkdir()
    if not _call("mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m", "tmpfs", str(place)):
        yield Try("disk full (not tried: no file system can be mounted here)", "", 0)
        return
    try:
        for stage in (None, *subject.stages):
            yield _full_at(subject, place, stage)
    finally:
        _call("umount", "-l", str(place))


def _full_at(subject: Subject, place: Path, stage: str | None) -> Try:
    out = subject.without(stage or subject.stages[0], place / "run")
    filler = place / "filler"
    if stage is None:
        _fill(filler)
        running = subject.start(out)
    else:
        running = subject.start(out)
        _paused(running, stage, lambda: _fill(filler))
    code = running.wait()
    filler.unlink()
    lost = subject.finish(out)
    shutil.rmtree(out)
    name = "disk full before the start" if stage is None else "disk full from a stage on, each"
    return Try(name, running.said(), code, tuple(lost))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as handle:
        for size in (2**20, 2**12, 1):
            try:
                while handle.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue


def read_only(subject: Subject) -> Iterator[Try]:
    """A folder that cannot be written any more, from every third stage on."""
    for stage in subject.stages[::3]:
        out = subject.without(stage, subject.work / "locked")
        running = subject.start(out)
        _paused(running, stage, partial(_call, "chattr", "-R", "+i", str(out)))
        code = running.wait()
        allowed = _call("chattr", "-R", "-i", str(out))
        lost = subject.finish(out)
        shutil.rmtree(out)
        if not allowed:
            yield Try("run folder read-only (not tried: no immutable files here)", "", 0)
            return
        yield Try("run folder read-only in mid-run", running.said(), code, tuple(lost))


def _paused(running: Running, stage: str, action: Callable[[], object]) -> None:
    """Does something while the run stands still at the beginning of a stage."""
    running.reach(stage)
    running.send(signal.SIGSTOP)
    action()
    running.send(signal.SIGCONT)


def _call(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
