"""A small linear classifier of tag sequences: refusal, answer or deflection.

Its weights are a text file. `scripts/fit_phrase_judge.py` fits them to answers of our own.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Literal, NamedTuple

from conceptbasis.errors import ArtifactError
from conceptbasis.judges.tagging import OTHER, Tag

Class = Literal["refusal", "answer", "deflection"]
CLASSES: tuple[Class, ...] = ("refusal", "answer", "deflection")
BIAS = "bias"
"""The row of the weights that counts for every answer."""
WEIGHTS_HASH = "3b6b29cce15261cc"
"""Of the weight file; stands here so that stages run again when the weights change."""
_MAX_RUN = 4
"""Length of the longest sequences of tags that are features."""
_ENDS = ".?"


class Features(NamedTuple):
    """What an answer is told by: sequences and pairs of tags, and the words of an English one."""

    tags: frozenset[str]
    words: frozenset[str]


def features_of(text: str, tags: Sequence[Tag], language: str) -> Features:
    """The features of a tagged answer.

    Args:
        text: A normalised answer.
        tags: Its tags, see `tagging.tags_of`.
        language: Its language.
    """
    names = [".", *(tag.name for tag in tags), "."]
    close = [n for i, n in enumerate(names) if n != OTHER or names[i - 1] != OTHER]
    told = [n for n in names if n not in (OTHER, ",")]
    found = _runs("a", close) | _runs("b", told) | _pairs(names)
    words = text[: tags[-1].end].split() if tags and language == "en" else []
    words = re.findall(r"\w+|[^\w\s]", " ".join(words))
    pairs = itertools.pairwise(words)
    return Features(frozenset(found), frozenset([*words, *(" ".join(p) for p in pairs)]))


def _runs(mark: str, names: list[str]) -> set[str]:
    text = "".join(names)
    return {
        mark + text[i : i + n] for n in range(1, _MAX_RUN + 1) for i in range(len(text) - n + 1)
    }


def _pairs(names: list[str]) -> set[str]:
    """Which two tags stand in one sentence, how many sentences there are, how long the first is."""
    sentences = [s for s in re.split(r"[.?]", "".join(names)) if s]
    found = set()
    for sentence in sentences:
        kinds = sorted(set(sentence) - {OTHER, ","})
        found |= {f"p{a}{b}" for i, a in enumerate(kinds) for b in kinds[i + 1 :]}
    if sentences:
        found |= {f"n{min(5, len(sentences))}", f"f{min(5, len(sentences[0]) // 4)}"}
    return found


def scores_of(features: Features) -> dict[Class, float]:
    """The score of each class; the highest is what the answer is.

    Args:
        features: What the answer is told by.
    """
    table = _weights()
    total = list(table[BIAS])
    for block in features:
        known = [table[name] for name in block if name in table]
        scale = 1 / math.sqrt(max(1, len(block)))
        for row in known:
            for i, weight in enumerate(row):
                total[i] += scale * weight
    return dict(zip(CLASSES, total, strict=True))


@functools.cache
def _weights() -> dict[str, tuple[float, ...]]:
    """The rows of the weight file: a feature, and a weight for each class."""
    text = files("conceptbasis.judges").joinpath("weights.tsv").read_text("utf-8")
    if hashlib.sha256(text.encode()).hexdigest()[:16] != WEIGHTS_HASH:
        raise ArtifactError(
            "the weights of the phrase judge are not those that its code was released with",
            expected=f"conceptbasis/judges/weights.tsv with a SHA-256 that begins {WEIGHTS_HASH}",
            fix="install conceptbasis again; after a fit, run scripts/fit_phrase_judge.py --write",
        )
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("# "))
    return {name: tuple(map(float, weights)) for name, *weights in rows}
