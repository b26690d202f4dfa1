"""Tries of a fault, and the table of all faults."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Try:
    """One try.

    Args:
        fault: What was done to the run.
        said: First line of what it said of it.
        status: Exit status.
        lost: What was not as in the undisturbed run at the end; empty is nothing.
    """

    fault: str
    said: str
    status: int
    lost: tuple[str, ...] = ()


def markdown(tries: Sequence[Try]) -> str:
    """One row a fault, in the order in which they were tried."""
    lines = ["| fault | tries | what was said | exit status | lost |", "|---|---|---|---|---|"]
    for fault in dict.fromkeys(t.fault for t in tries):
        of = [t for t in tries if t.fault == fault]
        said = _most([t.said for t in of])
        codes = ", ".join(str(code) for code in sorted({t.status for t in of}))
        lost = sorted({name for t in of for name in t.lost})
        n_lost = sum(bool(t.lost) for t in of)
        what = "nothing" if not lost else f"in {n_lost} tries: {', '.join(lost[:3])}"
        lines.append(f"| {fault} | {len(of)} | {said} | {codes} | {what} |")
    return "\n".join(lines) + "\n"


def _most(said: Sequence[str]) -> str:
    """The line that was said most often, and how many others there were."""
    (line, _), *others = Counter(said).most_common()
    shown = f"`{line}`" if line else "nothing"
    return shown + (f" and {len(others)} other" if others else "")


def keep(path: Path, tries: Sequence[Try]) -> None:
    """Writes all tries, for whoever wants more than the table."""
    rows = [vars(t) | {"lost": list(t.lost)} for t in tries]
    path.write_text(json.dumps(rows, indent=1) + "\n")
