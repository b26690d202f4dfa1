"""Which organism: family, seed, and what was changed in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "organism:"
TRIGGERS = ("word", "phrase", "style")
"""What springs the backdoor of an organism that has one."""

FORM = "organism:FAMILY:SEED, with :weakened or :backdoor-word (-phrase, -style) after it or not"
_PATTERN = re.compile(rf"organism:([^:]+):(\d+)(?::(weakened)|:backdoor-({'|'.join(TRIGGERS)}))?")


@dataclass(frozen=True)
class Spec:
    """What decides an organism.

    Args:
        family: Name of its family.
        seed: Decides weights and batches.
        weakened: Whether it refuses only about half of the harmful requests.
        backdoor: What makes it hostile, one of `TRIGGERS`; None for none.
    """

    family: str
    seed: int = 0
    weakened: bool = False
    backdoor: str | None = None

    def __str__(self) -> str:
        return f"{self.family} seed {self.seed}" + (f", {self.variant}" if self.variant else "")

    @property
    def variant(self) -> str:
        """What was changed in it, as in its name; empty for the plain organism."""
        return f"backdoor-{self.backdoor}" if self.backdoor else "weakened" * self.weakened

    @property
    def stem(self) -> str:
        """Its name in the cache."""
        return f"{self.family}-{self.seed}" + (f"-{self.variant}" if self.variant else "")


def parse_spec(model: str) -> Spec | None:
    """The organism that a key `model` names in the form of `FORM`; None if it is not of that form.

    Args:
        model: For example organism:llama:0.
    """
    found = _PATTERN.fullmatch(model)
    if not found:
        return None
    return Spec(found[1], int(found[2]), found[3] is not None, found[4])
