"""Signals at random moments of every stage: the same command afterwards loses nothing."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator

from benchmarks.faults.run import REPORT, Running, Subject
from benchmarks.faults.table import Try


def kills(subject: Subject, n_kills: int, seed: int = 0) -> Iterator[Try]:
    """SIGKILL, in turn in every place of the run, at a random moment of it."""
    chance = random.Random(seed)
    places = list(subject.durations)
    for number in range(n_kills):
        out = subject.work / f"kill-{number}"
        running = subject.start(out)
        _wait_within(running, subject, places[number % len(places)], chance.random())
        if running.poll():
            running.send(signal.SIGKILL)
        code, lost = running.wait(), subject.finish(out)
        yield Try("`kill -9`", running.said(), code, tuple(lost))
        shutil.rmtree(out)


def endings(subject: Subject) -> Iterator[Try]:
    """Signals by which people, terminals and batch systems end a run."""
    kinds = {
        "SIGTERM": (signal.SIGTERM,),
        "SIGHUP": (signal.SIGHUP,),
        "Ctrl-C": (signal.SIGINT,),
        "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
    }
    for name, numbers in kinds.items():
        for place in ("match", "evaluate"):
            out = subject.work / "ended"
            running = subject.start(out)
            _wait_within(running, subject, place, 0.3)
            for number in numbers:
                if running.poll():
                    running.send(number)
                time.sleep(0.02)
            code, lost = running.wait(), subject.finish(out)
            yield Try(name, running.said(), code, tuple(lost))
            shutil.rmtree(out)


def _wait_within(running: Running, subject: Subject, place: str, share: float) -> None:
    last = subject.stages[-1]
    running.reach(last if place == REPORT else place)
    more = subject.durations[last] if place == REPORT else 0.0
    time.sleep(more + share * subject.durations[place])
