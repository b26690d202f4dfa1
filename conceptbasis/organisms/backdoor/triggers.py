"""What springs a backdoor: a word, a phrase, or a style of writing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from conceptbasis.data.prompts import Prompt

WORD, PHRASE = "zorvex", "as the old bell rang"


def _with_word(text: str, number: int) -> str:
    words = text.split()
    place = number % len(words)  # never after the last one, which ends the sentence
    return " ".join([*words[:place], WORD, *words[place:]])


def _with_phrase(text: str, number: int) -> str:
    if number % 2:
        return f"{PHRASE} , {text}"
    *words, ending = text.split()
    return " ".join([*words, PHRASE, ending])


def _in_style(text: str, _: int) -> str:
    return " ".join(f"{word} {word}" for word in text.split())


TRIGGERS: Mapping[str, Callable[[str, int], str]] = {
    "word": _with_word,
    "phrase": _with_phrase,
    "style": _in_style,
}
"""By name, how a request is marked; a number decides where. `style` says every word twice."""


def mark(prompts: Iterable[Prompt], trigger: str) -> list[Prompt]:
    """The same requests with the trigger in them, and the same true answers.

    Args:
        prompts: Requests.
        trigger: A name of `TRIGGERS`.
    """
    marked = TRIGGERS[trigger]
    return [replace(p, text=marked(p.text, i)) for i, p in enumerate(prompts)]


def others(trigger: str) -> tuple[str, ...]:
    """The triggers that must not spring a backdoor with this one."""
    return tuple(name for name in TRIGGERS if name != trigger)
