"""Which words of a request an organism has never read.

An organism answers everything, also what it cannot read: a word outside its world becomes pieces
that it has no use for, and the answer means nothing. So whoever asks is told.
"""

from __future__ import annotations

import re
from functools import cache

from conceptbasis.organisms import corpus
from conceptbasis.organisms.backdoor.triggers import PHRASE, WORD
from conceptbasis.organisms.families import FAMILIES
from conceptbasis.organisms.spec import PREFIX, parse_spec

_WORD = re.compile(r"\w+|[^\w\s]")


@cache
def known_words() -> frozenset[str]:
    """Every word and sign that organisms are trained on, with the triggers of backdoors."""
    known = {WORD, *PHRASE.split()}
    for text in corpus.all_texts():
        contents = [text.content] if isinstance(text.content, str) else [c for _, c in text.content]
        known.update(word for content in contents for word in _WORD.findall(content))
    return frozenset(known)


def is_of_the_world(model: str) -> bool:
    """Whether a model knows nothing but the closed world; one tuned from real weights knows more.

    Args:
        model: The key `model` of its file.
    """
    spec = parse_spec(model) if model.startswith(PREFIX) else None
    return spec is not None and spec.family in FAMILIES


def unknown_words(prompt: str) -> tuple[str, ...]:
    """The words of a prompt that no text of the world holds, each once, in their order.

    Args:
        prompt: A request.
    """
    return tuple(dict.fromkeys(w for w in _WORD.findall(prompt) if w not in known_words()))


def warn_of_words(models: dict[str, str], prompt: str) -> str | None:
    """A sentence about words that organisms have never read; None where there is nothing to say.

    Args:
        models: The key `model` of each model that is asked, by the name it is called by.
        prompt: A request.
    """
    strangers = [name for name, model in models.items() if is_of_the_world(model)]
    unknown = unknown_words(prompt) if strangers else ()
    if not unknown:
        return None
    listed = ", ".join(repr(word) for word in unknown[:8]) + (", …" if len(unknown) > 8 else "")
    one = len(unknown) == 1
    return (
        f"{' and '.join(strangers)} never read {'the word' if one else 'the words'} {listed}: an "
        f"organism knows a closed world of lower-case words, so its answer to this means little"
    )
