"""Which texts are taken of many, and how many there are of each class."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite, Text


def choose_texts(texts: Sequence[Text], n: int, seed: int) -> list[Text]:
    """At most n texts, the same ones for the same seed, spread over the classes.

    Each class gets a share in proportion to the square root of its size, so that a small class
    is not drowned.
    """
    rng = random.Random(seed)
    by_class: dict[str, list[Text]] = {}
    for text in texts:
        by_class.setdefault(text.text_class, []).append(text)
    total = sum(len(group) ** 0.5 for group in by_class.values())
    chosen = []
    for group in by_class.values():
        share = min(len(group), max(1, round(n * len(group) ** 0.5 / total)))
        chosen += rng.sample(group, share)
    rng.shuffle(chosen)
    return chosen[:n]


def shared_texts(suite: PromptSuite, config: RunConfig) -> list[Text]:
    """The texts that both models read."""
    allowed = suite.texts_for(config.budget, config.harvest.without)
    return choose_texts(allowed, config.harvest.n_texts, config.seed)


def count_classes(texts: Iterable[Text]) -> dict[str, int]:
    """How many texts there are of each class, in the order in which classes first occur."""
    return dict(Counter(text.text_class for text in texts))
