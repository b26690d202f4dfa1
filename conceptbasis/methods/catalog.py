"""Names of methods as tables need them: by role and by group."""

from __future__ import annotations

from collections.abc import Iterable

from conceptbasis.methods import METHODS, with_role
from conceptbasis.methods.base import GROUPS, Role
from conceptbasis.methods.native import NATIVE
from conceptbasis.methods.routes import TRANSFER
from conceptbasis.methods.untouched import BASELINE

OTHER_GROUP = "Other conditions"

HEADLINE = (BASELINE.name, TRANSFER.name, NATIVE.name)
"""What every table about one run shows: the target untouched, transferred, and the bar."""


def of_role(*roles: Role) -> tuple[str, ...]:
    """Names of the methods of some roles, in the order of display."""
    return tuple(method.name for method in with_role(*roles))


def compared() -> tuple[str, ...]:
    """Names of the methods whose intervals a comparison of runs shows."""
    return tuple(method.name for method in METHODS.values() if method.compared)


def grouped(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Names by group in the order of display; unknown ones come last, never dropped."""
    given = list(names)
    found = [(group, [n for n in of_role(*roles) if n in given]) for group, roles in GROUPS.items()]
    found.append((OTHER_GROUP, [n for n in given if n not in METHODS]))
    return [(group, members) for group, members in found if members]
