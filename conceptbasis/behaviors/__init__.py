"""Behaviors as data: one registered file each says what is transferred and how it is told."""

from __future__ import annotations

from conceptbasis.behaviors.base import Behavior
from conceptbasis.behaviors.refusal import REFUSAL
from conceptbasis.errors import ConfigError

BEHAVIORS: dict[str, Behavior] = {behavior.name: behavior for behavior in (REFUSAL,)}
"""Every behavior by name; the key `behavior` of a run names one of them."""


def register(behavior: Behavior) -> None:
    """Adds a behavior of one's own, under a name that is not taken."""
    if behavior.name in BEHAVIORS:
        raise ConfigError(
            f"there is a behavior {behavior.name!r} already",
            expected="a name of its own",
            fix="choose another name",
        )
    BEHAVIORS[behavior.name] = behavior


def find_behavior(name: str) -> Behavior:
    """The behavior of a name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in BEHAVIORS:
        raise ConfigError(
            f"unknown behavior {name!r}",
            expected="one of " + ", ".join(BEHAVIORS),
            fix="correct the key `behavior`",
        )
    return BEHAVIORS[name]
