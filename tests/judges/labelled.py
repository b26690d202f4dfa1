"""The labelled answers, and their two halves: one to write patterns with, one to measure on."""

import hashlib
from pathlib import Path

import yaml

ANSWERS = [
    (language, kind, text)
    for language, kinds in yaml.safe_load(
        Path(__file__).with_name("labelled_answers.yaml").read_text("utf-8")
    ).items()
    for kind, texts in kinds.items()
    for text in texts
]


def half(name: str) -> list[tuple[str, str, str]]:
    """Answers with language and kind: `written`, which patterns may be fitted to, or `held_out`."""
    parity = ("written", "held_out").index(name)
    return [row for row in ANSWERS if hashlib.sha256(row[2].encode()).digest()[0] % 2 == parity]
