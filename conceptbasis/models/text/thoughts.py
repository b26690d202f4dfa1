"""Tags of thoughts: what opens and closes the part of an answer that is thought, not said."""

from __future__ import annotations

import re

_NAME = (
    r"(?:\w+[:_|])?(?:think|thinking|reasoning|thought|thoughts|reflection|scratchpad)"
    r"(?:_fast|_faster)?"
)
_ABOUT = r"[^<\n]{0,80}(?:<\|constrain\|>[^<\n]{0,40})?"
"""What gpt-oss says of a message before it begins: to whom it goes, in which form."""
_WORDS = rf"<{_NAME}(?:\s[^<>]*)?>|\[think\]"
_TOKENS = (
    rf"◁think▷|<\|channel\|>(?:analysis|commentary){_ABOUT}<\|message\|>"
    r"|<\|channel>(?:thought|analysis)|<\|(?:begin|start)_of_thought\|>|<\|START_THINKING\|>"
    r"|<\|inner_prefix\|>|<\|think\|>|<unused94>(?:thought)?"
)
_BEGINS = r"(?<![^\n.!?:>\]。])[^\S\n]*"
"""Where a tag that a person may write is no mention: after a line, a sentence or another tag."""
OPENS = rf"{_WORDS}|{_TOKENS}"
CLOSES = (
    rf"</{_NAME}\s*>|\[/think\]|◁/think▷|<channel\|>|<\|end_of_thought\|>|<\|END_THINKING\|>"
    rf"|<\|inner_suffix\|>|<unused95>|<\|content\|>|<\|channel\|>final(?:{_ABOUT}<\|message\|>)?"
)
"""Patterns, without regard to case: `<think>` with attributes, a prefix or an effort
(`<seed:think>`, `<longcat_think>`, `<think_fast>`), the channels of gpt-oss and Gemma 4, and the
tags of Mistral, Kimi, Command A, Apertus, MedGemma and Solar."""

_OPEN = re.compile(rf"(?i:{_BEGINS}(?:{_WORDS})|{_TOKENS})|\A\s*analysis(?=[A-Z])|\A\s*thought\n")
_PIECES = re.compile(rf"{OPENS}|{CLOSES}|<\|channel>|<\|channel\|>|<\|message\|>", re.IGNORECASE)
_IN_ORDER = re.compile(
    rf"{_BEGINS}(?P<tag>{_WORDS})|(?P<token>{_TOKENS})|(?P<last>{_WORDS})\s*\Z"
    rf"|{CLOSES}|<\|end\|>",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    rf"```(?:(?!```).)*?(?:{OPENS})(?:(?!```).)*```|`[^`\n]+`|[\"'“‘](?:{OPENS}|{CLOSES})[\"'”’]",
    re.DOTALL | re.IGNORECASE,
)


def opened_thought(opening: str) -> str:
    """The tag with which a template leaves a thought open, or nothing.

    Args:
        opening: What it writes behind the user's words, up to where the answer begins. The thought
            may have words already.
    """
    open_tag = ""
    for found in _IN_ORDER.finditer(opening):
        open_tag = found["tag"] or found["token"] or found["last"] or ""
    return open_tag


def leaves_open(text: str) -> bool:
    """Whether a text holds an opening tag, beside those that it only mentions.

    Args:
        text: An answer without thoughts that ended.
    """
    return _OPEN.search(text) is not None


def without_quoted_tags(answer: str) -> str:
    """The answer without tags that stand in code or quotes, which are mentions.

    Args:
        answer: A completion.
    """
    return _QUOTED.sub(lambda found: _PIECES.sub("", found[0]), answer)


def is_thought_tag(token: str) -> bool:
    """Whether a special token opens or closes a thought, so that it belongs to the answer."""
    return _PIECES.fullmatch(token) is not None
