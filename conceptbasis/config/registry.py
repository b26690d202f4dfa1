"""The one kind of registry: things by name, each under a name of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from conceptbasis.errors import ConfigError


class Named(Protocol):
    """Anything that has a name."""

    @property
    def name(self) -> str:
        """Its name in the configuration and in results."""


N = TypeVar("N", bound=Named)


class Registry(dict[str, N]):
    """Things by name, in the order in which they were registered.

    Args:
        kind: What they are called in errors.
        members: Those of the package itself.
    """

    def __init__(self, kind: str, members: Iterable[N]) -> None:
        super().__init__((member.name, member) for member in members)
        self._kind = kind

    def register(self, member: N) -> None:
        """Adds one, under a name that is not taken; it comes last.

        Raises:
            ConfigError: if the name is taken.
        """
        if member.name in self:
            raise ConfigError(
                f"there is a {self._kind} {member.name!r} already",
                expected="a name of its own",
                fix="choose another name",
            )
        self[member.name] = member

    def find(self, name: str) -> N:
        """The one of a name.

        Raises:
            ConfigError: if there is none.
        """
        if name not in self:
            raise ConfigError(
                f"unknown {self._kind} {name!r}",
                expected="one of " + ", ".join(self),
                fix=f"correct the name, or register that {self._kind} (docs/extending.md)",
            )
        return self[name]
