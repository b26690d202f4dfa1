"""Judges of answers: one registered file each. Importing this loads no tensor library."""

from __future__ import annotations

from conceptbasis.errors import ConfigError
from conceptbasis.judges.base import Judge
from conceptbasis.judges.first_token import FIRST_TOKEN
from conceptbasis.judges.model import MODEL
from conceptbasis.judges.phrases import PHRASES

JUDGES: dict[str, Judge] = {judge.name: judge for judge in (PHRASES, FIRST_TOKEN, MODEL)}
"""Every judge by name. A behavior names its primary one; the others are measured beside it."""


def register(judge: Judge) -> None:
    """Adds a judge of one's own, under a name that is not taken."""
    if judge.name in JUDGES:
        raise ConfigError(
            f"there is a judge {judge.name!r} already",
            expected="a name of its own",
            fix="choose another name",
        )
    JUDGES[judge.name] = judge


def find_judge(name: str) -> Judge:
    """The judge of a name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in JUDGES:
        raise ConfigError(
            f"unknown judge {name!r}",
            expected="one of " + ", ".join(JUDGES),
            fix="correct the behavior's `judge`, or register that judge",
        )
    return JUDGES[name]
