"""Which organism: family, seed, and whether its refusal is weakened."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "organism:"
FORM = "organism:FAMILY:SEED or organism:FAMILY:SEED:weakened"
_PATTERN = re.compile(r"organism:([^:]+):(\d+)(:weakened)?")


@dataclass(frozen=True)
class Spec:
    """What decides an organism.

    Args:
        family: Name of its family.
        seed: Decides weights and batches.
        weakened: Whether it refuses only about half of the harmful requests.
    """

    family: str
    seed: int = 0
    weakened: bool = False

    def __str__(self) -> str:
        return f"{self.family} seed {self.seed}" + (", weakened" if self.weakened else "")

    @property
    def stem(self) -> str:
        """Its name in the cache."""
        return f"{self.family}-{self.seed}" + ("-weakened" if self.weakened else "")


def parse_spec(model: str) -> Spec | None:
    """The organism that a key `model` names in the form of `FORM`; None if it is not of that form.

    Args:
        model: For example organism:llama:0.
    """
    found = _PATTERN.fullmatch(model)
    return Spec(found[1], int(found[2]), found[3] is not None) if found else None
