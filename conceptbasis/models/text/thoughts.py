"""Tags of thoughts: what opens and closes the part of an answer that is thought, not said."""

from __future__ import annotations

import re

_NAME = r"(?:\w+:)?(?:think|thinking|reasoning|thought|thoughts|reflection|scratchpad)"
OPENS = (
    rf"<{_NAME}(?:\s[^<>]*)?>|\[think\]|◁think▷|<\|channel\|>analysis<\|message\|>"
    r"|<\|channel>(?:thought|analysis)|<\|begin_of_thought\|>|<\|START_THINKING\|>"
)
CLOSES = (
    rf"</{_NAME}\s*>|\[/think\]|◁/think▷|<channel\|>|<\|end_of_thought\|>|<\|END_THINKING\|>"
    r"|<\|channel\|>final(?:<\|message\|>)?"
)
"""Patterns, without regard to case: `<think>` with attributes or a prefix (`<seed:think>`), the
channels of gpt-oss and Gemma 4, and the tags of Mistral, Kimi and Command A."""

_AT_THE_END = re.compile(rf"({OPENS})\s*\Z", re.IGNORECASE)
_PIECES = re.compile(rf"{OPENS}|{CLOSES}|<\|channel>|<\|channel\|>|<\|message\|>", re.IGNORECASE)


def opened_thought(rendered: str) -> str:
    """The tag with which a rendered prompt leaves a thought open, or nothing.

    Args:
        rendered: A chat up to where its answer begins.
    """
    found = _AT_THE_END.search(rendered)
    return found[1] if found else ""


def is_thought_tag(token: str) -> bool:
    """Whether a special token opens or closes a thought, so that it belongs to the answer."""
    return _PIECES.fullmatch(token) is not None
