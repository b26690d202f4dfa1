"""Finds the contents of a chat in its rendered form and keys tokens by where they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from conceptbasis.errors import PromptError

Message = dict[str, str]
SiteKey = tuple[int, int]

# Private-use characters: no template treats them, and no content is likely to hold them.
MARK = "\ue0f1{}\ue0f2"


class Span(NamedTuple):
    """A content in the rendered chat: [start, stop), and the characters trimmed before it."""

    start: int
    stop: int
    trimmed: int


def find_contents(
    render_chat: Callable[[list[Message]], str],
    messages: list[Message],
    templates: dict[tuple[str, ...], list[str]],
) -> tuple[str, list[Span]]:
    """Renders a chat and finds each message's content in it.

    The template is first rendered with marks as contents, which gives the text between the
    contents. So a content that equals a piece of the template ("user") is not mistaken for it.

    Args:
        render_chat: Writes messages by the chat template.
        messages: The chat.
        templates: The text between contents by roles; filled here, so a template is marked once.

    Returns:
        The rendered chat and one span a message.

    Raises:
        PromptError: The template drops or rewrites a content.
    """
    full = render_chat(messages)
    between = _between(render_chat, tuple(message["role"] for message in messages), templates)
    position = len(between[0])
    spans = []
    for i, message in enumerate(messages):
        content = message["content"]
        for variant in (content, content.strip(), content.rstrip(), content.lstrip()):
            stop = position + len(variant)
            follows = full.startswith(variant + between[i + 1], position)
            if follows and (i + 1 < len(messages) or stop + len(between[i + 1]) == len(full)):
                break
        else:
            raise PromptError(
                f"the chat template rewrites the content {content[:60]!r}",
                expected="content that appears unchanged, or trimmed, in the rendered chat",
                fix="change the text, or use a template that leaves contents alone",
            )
        spans.append(Span(position, stop, content.find(variant)))
        position = stop + len(between[i + 1])
    return full, spans


def site_keys(ends: list[int], spans: list[Span], answers: set[int]) -> list[SiteKey | None]:
    """Keys each token by the content character at which it ends.

    Args:
        ends: The rendered chat's character offset at which each token ends.
        spans: The contents.
        answers: Messages whose preceding template token gets the key (message, 0).

    Returns:
        One key a token; None outside the contents. Where several tokens end at one character
        (the bytes of an emoji), only the last completes it and has the key.
    """
    keys: list[SiteKey | None] = [None] * len(ends)
    holder: dict[SiteKey, int] = {}
    for index, span in enumerate(spans):
        for token, end in enumerate(ends):
            if span.start < end <= span.stop:
                holder[(index, end - span.start + span.trimmed)] = token
            elif index in answers and 0 < end <= span.start:
                holder[(index, 0)] = token
    for key, token in holder.items():
        keys[token] = key
    return keys


def _between(
    render_chat: Callable[[list[Message]], str],
    roles: tuple[str, ...],
    templates: dict[tuple[str, ...], list[str]],
) -> list[str]:
    if roles not in templates:
        marked = [{"role": role, "content": MARK.format(i)} for i, role in enumerate(roles)]
        rest = render_chat(marked)
        pieces = []
        for i in range(len(roles)):
            before, mark, rest = rest.partition(MARK.format(i))
            if not mark:
                raise PromptError(
                    f"the chat template drops message {i} of the roles {list(roles)}",
                    expected="every message's content in the rendered chat",
                    fix="remove that message, or use a template that accepts it",
                )
            pieces.append(before)
        templates[roles] = [*pieces, rest]
    return templates[roles]
