"""Prompt suites on disk: a folder of JSON-lines files with fixed names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conceptbasis.config.budgets import budget_names, class_names
from conceptbasis.data.files import bad_row, read_jsonl
from conceptbasis.data.prompts import (
    Concept,
    Prompt,
    PromptSuite,
    Text,
    check_disjoint,
)
from conceptbasis.data.roles import PromptSets
from conceptbasis.errors import PromptError
from conceptbasis.runs.files import write_text


def save_suite(suite: PromptSuite, folder: Path) -> None:
    """Writes a suite as JSON-lines files that `load_suite` reads back."""
    for name, prompts in suite.prompts.items():
        write_text(folder / f"{name}.jsonl", _lines(asdict(p) for p in prompts))
    write_text(folder / "texts.jsonl", _lines(asdict(t) for t in suite.texts))
    write_text(folder / "concepts.jsonl", _lines(asdict(c) for c in suite.concepts))


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def load_suite(folder: Path, sets: PromptSets) -> PromptSuite:
    """Reads a prompt suite from a folder and checks it.

    Args:
        folder: Where its files are.
        sets: Which of its sets plays which part.

    Raises:
        PromptError: if a file is missing, a line cannot be read, a set is empty, or sets overlap.
    """
    if not folder.is_dir():
        raise PromptError(
            f"no prompt suite at {folder}",
            expected="a folder with " + ", ".join(f"{n}.jsonl" for n in (*sets.required, "texts")),
            fix="correct `prompts.path`; docs/method.md describes the files",
        )
    prompts = {
        name: tuple(_prompt(row, path, i) for i, row in read_jsonl(path))
        for name in sets.names
        if (path := folder / f"{name}.jsonl").exists()
    }
    texts_path = folder / "texts.jsonl"
    if not texts_path.exists():
        raise PromptError(
            f"{texts_path} is missing",
            expected="one JSON object per line with `content` and `text_class`",
            fix="write that file; it is the shared text on which latents are matched",
        )
    texts = tuple(_text(row, texts_path, i) for i, row in read_jsonl(texts_path))
    path = folder / "concepts.jsonl"
    suite = PromptSuite(prompts, texts, load_concepts(path) if path.exists() else ())
    check_disjoint(suite, sets)
    return suite


def load_concepts(path: Path) -> tuple[Concept, ...]:
    """Reads a file of concepts, one a line.

    Raises:
        PromptError: if a line cannot be read.
    """
    return tuple(_concept(row, path, i) for i, row in read_jsonl(path))


def _prompt(row: Mapping[str, Any], path: Path, number: int) -> Prompt:
    try:
        prompt = Prompt(**row)
    except TypeError as error:
        raise bad_row(path, number, str(error)) from error
    if not isinstance(prompt.text, str) or not prompt.text.strip():
        raise bad_row(path, number, "`text` is empty")
    return prompt


def _text(row: Mapping[str, Any], path: Path, number: int) -> Text:
    content, text_class = row.get("content"), row.get("text_class")
    if text_class not in class_names():
        raise bad_row(
            path, number, f"text_class {text_class!r} is not one of {list(class_names())}"
        )
    if isinstance(content, list):
        if not all(_is_message(message) for message in content):
            raise bad_row(path, number, "`content` is no list of [role, content] pairs")
        content = tuple((role, part) for role, part in content)
    elif not isinstance(content, str):
        raise bad_row(path, number, "`content` is neither a string nor a list")
    if not content:
        raise bad_row(path, number, "`content` is empty")
    return Text(content, str(text_class), row.get("noun"))


def _is_message(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)


def _concept(row: Mapping[str, Any], path: Path, number: int) -> Concept:
    positive = tuple(_prompt(p, path, number) for p in row.get("positive", ()))
    negative = tuple(_prompt(p, path, number) for p in row.get("negative", ()))
    if not positive or not negative or row.get("budget") not in budget_names():
        raise bad_row(path, number, "a concept needs name, budget, positive and negative prompts")
    return Concept(str(row.get("name")), row["budget"], positive, negative)
