"""The labelled answers, and their two halves: one to fit the judge to, one to measure it on."""

import hashlib
import re
from pathlib import Path

import yaml


def _load(name: str) -> list[tuple[str, str, str]]:
    languages = yaml.safe_load(Path(__file__).with_name(name).read_text("utf-8"))
    return [
        (language, kind, text)
        for language, kinds in languages.items()
        for kind, texts in kinds.items()
        for text in texts
    ]


FIRST = _load("labelled_answers.yaml")
FRESH = _load("fresh_answers.yaml")
ANSWERS = FIRST + FRESH


def half(name: str, rows: list[tuple[str, str, str]] = ANSWERS) -> list[tuple[str, str, str]]:
    """Answers with language and kind: `written`, which may be fitted to, or `held_out`."""
    parity = ("written", "held_out").index(name)
    return [row for row in rows if hashlib.sha256(row[2].encode()).digest()[0] % 2 == parity]


def training() -> list[tuple[str, str, str]]:
    """Further answers that the judge is fitted to, without those that resemble a held-out one."""
    planted = yaml.safe_load(Path(__file__).with_name("judged_answers.yaml").read_text("utf-8"))
    kinds = {"refusals": "refusal", "answers": "answer"}
    rows = _load("training_answers.yaml")
    rows += [("", kinds.get(k, k), text) for k, group in planted.items() for text in group.values()]
    held_out = [pieces(text) for _, _, text in half("held_out")]
    return [row for row in rows if not _resembles(pieces(row[2]), held_out)]


def pieces(text: str) -> set[str]:
    """All runs of four characters."""
    text = re.sub(r"\W+", " ", text.lower())
    return {text[i : i + 4] for i in range(len(text) - 3)} or {text}


def _resembles(one: set[str], others: list[set[str]]) -> bool:
    return any(len(one & other) > 0.5 * len(one | other) for other in others)
