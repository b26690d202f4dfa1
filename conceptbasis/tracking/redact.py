"""An error as it may be logged: one line without hidden texts, keys, paths and names."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterable, Iterator

_QUOTED = re.compile(r"(['\"“`‘])(?P<inside>[^\n]*?)(['\"”`’])(?!\w)")
_PATH = re.compile(r"(?<![\w.])(?:~|\.{0,2})?(?:/[^\s/'\",;:()\[\]]+)+/?")
_KEY = re.compile(r"\b(?:hf_|sk-|wandb_v1_)?[A-Za-z0-9_-]{32,}\b")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD")
_LONGEST = 300
CUT = "[…]"
"""What stands in the place of what may not be logged."""


def describe_error(error: BaseException, hidden: Iterable[str] = ()) -> str:
    """The kind of an error with the first line of what it says, fit to be logged.

    Args:
        error: The error.
        hidden: Texts that must not be logged; quoted text with a space in it is left out anyway.
    """
    first = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    for text in sorted({t.strip() for t in hidden} - {""}, key=len, reverse=True):
        first = re.sub(re.escape(text), CUT, first, flags=re.IGNORECASE)
    for secret in _secrets():
        first = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", CUT, first)
    first = _QUOTED.sub(_without_text, first)
    first = _PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], first)
    first = _KEY.sub(CUT, first)
    return f"{type(error).__name__}: {first}"[:_LONGEST].removesuffix(": ")


def _without_text(found: re.Match[str]) -> str:
    """Quoted names stay, sentences do not; a path may hold spaces."""
    inside = found["inside"]
    if "/" in inside:
        inside = inside.rstrip("/").rpartition("/")[2]
    return found[1] + (CUT if " " in inside else inside) + found[3]


def _secrets() -> Iterator[str]:
    """Keys of the environment, and what this machine and its user are called."""
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()) and len(value) >= 8:
            yield value
    try:
        names = [getpass.getuser(), socket.gethostname()]
    except (OSError, KeyError):
        return
    yield from (name for name in names if name and name != "root")
