"""Hurts a run in every way that is known, and prints what came of it: scripts/faults.sh."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.faults import beside, damage, disk, signals, wandb
from benchmarks.faults.run import Subject, load_libraries, measured
from benchmarks.faults.table import Try, keep, markdown

KINDS: dict[str, Callable[[Subject], Iterator[Try]]] = {
    "signals": signals.endings,
    "disk": disk.full,
    "read-only": disk.read_only,
    "stages": damage.stages,
    "others": damage.others,
    "clocks": beside.clocks,
    "two": beside.two_at_once,
    "memory": beside.memory,
    "models": beside.broken_models,
    "wandb": wandb.servers,
}
"""Every kind of fault by name, beside `kills`."""


def main() -> int:
    """Tries the faults that are asked for; 1 where anything was lost."""
    parser = argparse.ArgumentParser(prog="scripts/faults.sh", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="how many times a run is killed")
    parser.add_argument("--work", type=Path, default=Path("runs/faults"), help="where it works")
    parser.add_argument("--only", nargs="+", choices=("kills", *KINDS), help="some kinds of fault")
    parser.add_argument("words", nargs="*", default=["demo"], metavar="RUN", help="after --")
    options = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "disabled")
    load_libraries()
    subject = measured(options.words, options.work.resolve())
    kinds = {"kills": partial(signals.kills, n_kills=options.kills), **KINDS}
    tries: list[Try] = []
    for name in options.only or kinds:
        for tried in kinds[name](subject):
            print(tried, file=sys.stderr, flush=True)
            tries.append(tried)
            keep(options.work / "tries.json", tries)
    print(f"{datetime.now(UTC):%Y-%m-%d}, a run of {sum(subject.durations.values()):.0f} s\n")
    print(markdown(tries))
    return int(any(tried.lost for tried in tries))


if __name__ == "__main__":
    sys.exit(main())
