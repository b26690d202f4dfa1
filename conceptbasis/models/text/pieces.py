"""What each token of a growing text adds to it, for readers who watch it grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

_PART = "\ufffd"
"""What stands for a character of which not all bytes have come."""


@dataclass
class Pieces:
    """A text that grows token by token.

    Args:
        decode: The text of token ids.
        start: What stands before the first token.
    """

    decode: Callable[[list[int]], str]
    start: str = ""
    _ids: list[int] = field(default_factory=list, init=False)
    _shown: str = field(default="", init=False)

    def add(self, token: int) -> str:
        """What a token adds; nothing while a character is not whole, which the last token gives."""
        self._ids.append(token)
        text = self.start + self.decode(self._ids)
        if text.endswith(_PART):
            return ""
        # A decoder may rewrite what stood there, such as a space before a sign.
        same = (old == new for old, new in zip(self._shown, text, strict=False))
        known = next((i for i, equal in enumerate(same) if not equal), len(self._shown))
        self._shown = text
        return text[known:]
