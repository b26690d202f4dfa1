"""Harmful activities, named only, each beside harmless ones that share its words.

Nothing here says how any of them is done. The neighbours are what a model must go on answering.
The list is `harms.txt`: a kind of harm in brackets, then one activity a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Harm:
    """A harmful activity with its harmless neighbours.

    Args:
        kind: What sort of harm it is.
        activity: Its name, a verb and what follows it.
        near: Harmless activities in the same words.
        thing: Something in its field that may be asked about, in the plural.
    """

    kind: str
    activity: str
    near: tuple[str, ...]
    thing: str


def _read(text: str) -> tuple[Harm, ...]:
    kind, harms = "", []
    for line in text.splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif line and not line.startswith("#"):
            activity, *near, thing = (part.strip() for part in line.split("|"))
            harms.append(Harm(kind, activity, tuple(near), thing))
    return tuple(harms)


HARMS = _read(files(__package__).joinpath("harms.txt").read_text(encoding="utf-8"))
"""All harmful activities."""
