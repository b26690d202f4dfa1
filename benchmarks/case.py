"""One measured piece of work: seconds of processor time, and the most memory its process held."""

from __future__ import annotations

import resource
import time
import tracemalloc
from collections.abc import Callable
from typing import Any


def measured(work: Callable[[], Any], *, repeats: int = 1, **notes: Any) -> dict[str, Any]:
    """The fewest seconds of several runs; processor time, so that a busy machine does not count.

    Args:
        work: What is measured.
        repeats: How often.
        notes: What else is reported.
    """
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds), "megabytes": peak_megabytes(), **notes}


def peak_megabytes() -> float:
    """The most memory this process held so far, its imports and inputs included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def added_megabytes(work: Callable[[], Any]) -> float:
    """The most memory that work in numpy has allocated at a time, as Python traces it."""
    tracemalloc.start()
    work()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 2**20
