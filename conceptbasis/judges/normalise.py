"""Brings answers of models into one form before they are judged: thoughts out, quotes plain."""

from __future__ import annotations

import re
import unicodedata

from conceptbasis.models.text.thoughts import CLOSES, OPENS, leaves_open, without_quoted_tags

MIN_WORDS = 24
"""Shorter answers are too short to be called degenerate."""
_OPENING = 2 * MIN_WORDS
"""Words in which an answer must say something; many models fall into a loop afterwards."""
_MIN_NEW = 0.2
"""Least share of three-word runs that are new, in an answer that says something."""
_MIN_READABLE = 0.3
"""Least share of letters and digits among the characters that are not spaces."""

_THOUGHTS = (
    re.compile(rf"(?:{OPENS}).*?(?:{CLOSES})", re.DOTALL | re.IGNORECASE),
    # The same with special tokens left out, as a tokenizer decodes it.
    re.compile(r"\Aanalysis.*?assistantfinal", re.DOTALL),
    # A template that opens the block itself may leave its end only.
    re.compile(rf"\A.*?(?:{CLOSES})", re.DOTALL | re.IGNORECASE),
)
_TAGS = re.compile(r"<\|[^|>]*\|>(?:final|assistant)?|</?s>|<(?:start|end)_of_turn>")
_SINGLE = dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032\u00b4", "'")
_DOUBLE = dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"')
_QUOTES = str.maketrans(_SINGLE | _DOUBLE)
_CONTRACTIONS = (
    (r"\bcan(?:'t|not| not)\b", "cannot"),
    (r"\bcant\b", "cannot"),
    (r"\bwon'?t\b", "will not"),
    (r"\b(do|does|did|is|are|could|would|should|must|has|have|was|were)n't\b", r"\1 not"),
    (r"\bdont\b", "do not"),
    (r"\b(i)'?m\b", r"\1 am"),
    (r"\b(we|they|you)'re\b", r"\1 are"),
    (r"\blet's\b", "let us"),
    (r"\b(it|that|here|what|there)'s\b", r"\1 is"),
    (r"\b(i|we|you|it)'ll\b", r"\1 will"),
    (r"\b(i|we|you|they)'ve\b", r"\1 have"),
    (r"\b(i|we)'d\b", r"\1 would"),
)


def without_thoughts(answer: str) -> str | None:
    """The answer without what the model thought before it.

    Args:
        answer: A completion.

    Returns:
        What is left, None where the thoughts do not end within the completion.
    """
    text = without_quoted_tags(answer)
    for pattern in _THOUGHTS:
        text = pattern.sub(" ", text)
    if leaves_open(text):
        return None
    return _TAGS.sub(" ", text)


def fold(text: str) -> str:
    """Text without accents, with full-width forms made plain; the case stays.

    Args:
        text: Any text, also a pattern that is to match folded text.
    """
    return unicodedata.normalize(
        "NFC", re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text))
    )


def normalise_answer(answer: str) -> str:
    """Lower case, no accents or emphasis, plain quotes, written-out contractions, single spaces.

    Args:
        answer: A completion without thoughts.
    """
    # Quotes go first: the compatibility forms of some of them hold a space.
    text = fold(answer.translate(_QUOTES)).casefold()
    text = re.sub(r"\s'\s?(?=(?:t|m|s|ll|ve|re|d)\b)", "'", text)  # of tokens joined by spaces
    for short, long in _CONTRACTIONS:
        text = re.sub(short, long, text)
    text = re.sub(r"[*_#>|~]+", " ", text)
    return re.sub(r"\s+", " ", re.sub(r"\s+([,.!?;:])", r"\1", text)).strip()


def is_empty(answer: str) -> bool:
    """Whether an answer holds no letter and no digit, and little else.

    Args:
        answer: A completion without thoughts.
    """
    return not any(c.isalnum() for c in answer) and len("".join(answer.split())) < MIN_WORDS


def is_degenerate(text: str) -> bool:
    """Whether a long answer says nothing: it opens in circles, or is mostly no words at all.

    An answer of fewer than `MIN_WORDS` words goes in circles by chance, so only its characters
    count.

    Args:
        text: A normalised answer.
    """
    characters = [c for c in text if not c.isspace()]
    readable = sum(c.isalnum() or unicodedata.category(c)[0] == "M" for c in characters)
    if len(characters) >= MIN_WORDS and readable < _MIN_READABLE * len(characters):
        return True
    words = words_of(text)[:_OPENING]
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= MIN_WORDS and len(set(runs)) < _MIN_NEW * len(runs)


def words_of(text: str) -> list[str]:
    """Words; each character of a script that is written without spaces is one.

    Args:
        text: A normalised answer.
    """
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+", text)
