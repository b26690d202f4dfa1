"""Turns an answer into a sequence of tags: which parts its words play, and where they stand."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from conceptbasis.judges.lexicon import FREQUENT, LEXICONS, UNSPACED
from conceptbasis.judges.normalise import fold

_IDEOGRAM = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAM}]|[^\W{_IDEOGRAM}]+|[^\w\s]")
_SCRIPTS = (("ja", "\u3040-\u30ff"), ("zh", "\u3400-\u9fff"), ("ru", "\u0400-\u04ff"))
_SCRIPT = [(language, re.compile(f"[{letters}]")) for language, letters in _SCRIPTS]
_OTHER_SCRIPT = re.compile("[\u0590-\u0fff\u1100-\u11ff\uac00-\ud7af]")
_MARKS = {".": ".", "!": ".", "\u3002": ".", "?": "?", '"': '"', ",": ",", ":": ",", ";": ","}
_MAX_CHARACTERS = 400
"""Of these the language is told."""

_MIN_SCRIPT = {"ja": 0.05, "zh": 0.3, "ru": 0.3}
"""Share of letters above which a script decides; Japanese mixes its own with Chinese letters."""

OTHER = "o"
"""The tag of a word that plays no part."""


class Tag(NamedTuple):
    """One tag, and where its words stand in the text."""

    name: str
    start: int
    end: int


def language_of(text: str) -> str | None:
    """The language an answer is read in: by script, then by frequent words, English in doubt.

    Args:
        text: A normalised answer.

    Returns:
        A key of `LEXICONS`; None for a script that none of them is written in.
    """
    head = text[:_MAX_CHARACTERS]
    letters = sum(character.isalpha() for character in head)
    for language, script in _SCRIPT:
        # A few foreign letters, as broken models add them, do not make another language.
        if len(script.findall(head)) > _MIN_SCRIPT[language] * letters:
            return language
    if len(_OTHER_SCRIPT.findall(head)) > 0.3 * letters:
        return None
    words = re.findall(r"\w+", head)
    found = {name: sum(w in frequent for w in words) for name, frequent in FREQUENT.items()}
    best = max(found.values())
    near = [name for name, n in found.items() if n >= best - 1]
    if len(near) == 1:
        return near[0]
    # A short answer holds few frequent words; then the language that knows more of it wins.
    known = {name: found[name] + sum(_tag_of(name, w) is not None for w in words) for name in near}
    return max(known, key=lambda name: (known[name], name == "en"))


def tags_of(text: str, language: str, max_words: int) -> list[Tag]:
    """The tags of the first words and marks, in order; words without a part are `OTHER`.

    Args:
        text: A normalised answer.
        language: A key of `LEXICONS`.
        max_words: How many words are read.
    """
    found: list[Tag] = []
    position, words = 0, 0
    while words < max_words and (at := _WORD.search(text, position)):
        start, word = at.span()[0], at.group()
        position = at.end()
        if not (word[0].isalnum() or word[0] == "_"):
            if word in _MARKS:
                found.append(Tag(_MARKS[word], start, position))
            continue
        words += 1
        names, position = _longest(text, language, at)
        found += [Tag(name, start, position) for name in names]
    return found


def _longest(text: str, language: str, at: re.Match[str]) -> tuple[str, int]:
    """The tags of the entry that begins here, several words before one, and where it ends."""
    names, end = OTHER, at.end()
    if language not in UNSPACED and (single := _tag_of(language, at.group())):
        names = single
    for tags, pattern in _phrases(language):
        entry = pattern.match(text, at.start())
        if entry and entry.end() >= end + (names != OTHER):
            names, end = tags[int((entry.lastgroup or "t0")[1:])], entry.end()
    return names, end


@functools.lru_cache(maxsize=65536)
def _tag_of(language: str, word: str) -> str | None:
    """The tags of a single word."""
    return next((t for t, pattern in _words(language) if pattern.fullmatch(word)), None)


@functools.cache
def _words(language: str) -> list[tuple[str, re.Pattern[str]]]:
    entries = ((tags, _split(words)) for tags, words in LEXICONS[language].items())
    return [
        (tags, re.compile("|".join(single)))
        for tags, split in entries
        if (single := [e for e in split if re.fullmatch(r"[\w\\+*?\[\]()|:]+", e)])
    ]


@functools.cache
def _phrases(language: str) -> list[tuple[list[str], re.Pattern[str]]]:
    """Entries of several words as one pattern; without spaces every entry, one pattern a tag."""
    unspaced = language in UNSPACED
    found = []
    for tags, words in LEXICONS[language].items():
        several = [e for e in _split(words) if unspaced or re.search("[ '.)-]", e)]
        if several:
            found.append((tags, "|".join(several)))
    if unspaced:  # The longest of them counts, and an alternation takes the first.
        return [([tags], re.compile(f"(?P<t0>{words})")) for tags, words in found]
    groups = "|".join(f"(?P<t{i}>{words})" for i, (_, words) in enumerate(found))
    return [([tags for tags, _ in found], re.compile(rf"(?:{groups})(?!\w)"))]


def _split(words: str) -> list[str]:
    """The alternatives of a pattern that no bracket encloses, in folded form."""
    found, depth = [""], 0
    for character in fold(words).casefold():
        depth += (character in "([") - (character in ")]")
        if character == "|" and not depth:
            found.append("")
        else:
            found[-1] += character
    return found
