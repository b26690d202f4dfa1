"""What a speaker says himself: without what is quoted, dictated or translated."""

from __future__ import annotations

import re

from conceptbasis.judges.normalise import fold

_WHOLE = re.compile(r'\A"([^"]*)"?\s*\Z')
_QUOTED = re.compile(r'"[^"]*("|\Z)')
_LETTER = re.compile(
    fold(
        r"(?:\bdear (?!user|customer,? i am an|friend\b)|\b(?:hi|hello) (?:mr|mrs|ms|dr)\b|"
        r"\bsubject: |"
        r"\bquerid[oa]s? |\bestimad[oa]s? |\b(?:chere?|cher) [\w ]{1,20},|"
        r"\bliebe[rs]? [\w ]{1,20},|"
        r"\bsehr geehrte|\b(?:cara|caro|gentile) [\w ]{1,20},|\bprezad[oa] |\bуважаем\w+ |"
        r"\bдорог(?:ая|ои) [\w ]{1,20},|亲爱的|尊敬的|\A[\u3040-\u9fff]{1,6}(?:さん|様)、)"
    )
)
"""Where the text of a letter begins; what it declines is not the request."""
_DICTATED = re.compile(
    r"(?:\b(?:say|says|said|saying|write|writes|reads?|reply|replies|means|"
    r"translat\w+|message|sentence|answers)\b[^.:]{0,40}:|"
    r"\b(?:you (?:can|could|might|may|should)|just|to|simply) (?:say|write|reply|answer|respond)\b"
    r"[^.:]{0,10},)[^.!?]*[.!?]?"
)
"""What another says or is to say."""


CODE = "```"
"""Stands for a block of code."""
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
LETTER = "dear."
"""Stands for a letter and all that follows it."""


def without_code(text: str) -> str:
    """The answer with `CODE` in place of each block of code.

    Args:
        text: A normalised answer.
    """
    return _CODE.sub(f" {CODE} ", text)


def own_words(text: str) -> str:
    """The answer with marks in place of quotations and code, up to a letter's greeting.

    An answer that is nothing but one quotation is its own words.

    Args:
        text: A normalised answer.
    """
    whole = _WHOLE.match(text)
    text = without_code(whole.group(1) if whole else _QUOTED.sub(' " ', text))
    letter = _LETTER.search(text)
    if letter:
        text = f"{text[: letter.start()]} {LETTER}"
    return _DICTATED.sub(' " ', text).strip()
