"""Makes a prompt suite of files, data sets of the hub and presets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from conceptbasis.config.prompts import PromptsSection, SourceSection, TextSourceSection
from conceptbasis.data.presets import PRESETS, Preset
from conceptbasis.data.prompts import (
    Prompt,
    PromptSuite,
    Text,
    check_disjoint,
    normalise,
)
from conceptbasis.data.roles import PromptSets
from conceptbasis.errors import ConfigError, PromptError, reason

Row = Mapping[str, Any]
_COLUMNS = ("text", "prompt", "instruction", "goal", "question")
"""Where the prompt is looked for when no column is named, in this order, in any case."""


def build_from_sources(
    section: PromptsSection, base: PromptSuite | None, sets: PromptSets
) -> PromptSuite:
    """A suite whose sets and texts come from sources; what they leave out is that of `base`.

    Args:
        section: Sets and texts, and what happens to prompts that stand in two places.
        base: A suite from a folder, or None.
        sets: Which set plays which part.

    Raises:
        ConfigError: a set has a name that the behavior does not know.
        PromptError: a source cannot be read or is empty, or sets overlap.
    """
    for name in section.sets:
        if name not in sets.names:
            raise ConfigError(
                f"prompts.sets: {name!r} is no set of prompts of this behavior",
                expected="one of " + ", ".join(sets.names),
                fix="correct the name under prompts.sets",
            )
    prompts = dict(base.prompts) if base else {}
    prompts |= {name: read_prompts(source) for name, source in section.sets.items()}
    texts = tuple(text for source in section.texts for text in read_texts(source))
    suite = PromptSuite(
        {name: prompts[name] for name in sets.names if name in prompts},
        texts or (base.texts if base else ()),
        base.concepts if base else (),
    )
    if section.overlap == "drop":
        suite = drop_overlap(suite, sets)
    check_disjoint(suite, sets)
    _check_direction_texts(suite, sets)
    return suite


def drop_overlap(suite: PromptSuite, sets: PromptSets) -> PromptSuite:
    """The suite without repeated prompts: evaluation keeps its own, then direction, then texts.

    A prompt in a positive and a negative set of one kind is left out of both.

    Args:
        suite: Any suite.
        sets: Which of its sets plays which part.
    """
    for pair in sets.opposed:
        both = _keys(suite, pair[0]) & _keys(suite, pair[1])
        for name in pair:
            suite = _without(suite, name, both)
    for name in sets.held_out:
        suite = _without(suite, name, set())
    seen = set().union(*(_keys(suite, name) for name in sets.held_out))
    for name in (sets.positive, sets.negative):
        suite = _without(suite, name, seen)
        seen |= _keys(suite, name)
    texts = tuple(t for t in suite.texts if not seen & {normalise(part) for part in t.parts})
    return replace(suite, texts=texts)


def _keys(suite: PromptSuite, name: str) -> set[str]:
    return {normalise(p.text) for p in suite.prompts.get(name, ())}


def _without(suite: PromptSuite, name: str, keys: set[str]) -> PromptSuite:
    if name not in suite.prompts:
        return suite
    kept = {normalise(p.text): p for p in suite.prompts[name]}
    left = tuple(p for key, p in kept.items() if key not in keys)
    return replace(suite, prompts={**suite.prompts, name: left})


def _check_direction_texts(suite: PromptSuite, sets: PromptSets) -> None:
    """The prompts of the direction must not be among the shared texts either."""
    said = {normalise(part) for text in suite.texts for part in text.parts}
    for name in (sets.positive, sets.negative):
        shared = _keys(suite, name) & said
        if shared:
            raise PromptError(
                f"{len(shared)} prompts of {name} also occur in the texts",
                expected="direction, transfer and evaluation sets that share nothing",
                fix="give them other rows of the data set, or set prompts.overlap: drop",
            )


def read_prompts(source: SourceSection) -> tuple[Prompt, ...]:
    """The prompts of a source.

    Args:
        source: A file, data set or preset, with its columns.

    Raises:
        PromptError: it cannot be read, lacks a column, or has no rows left.
    """
    source, rows = _rows(source)
    column = source.column or _find_column(rows[0], source)
    found = []
    for number, row in enumerate(rows, 1):
        text = _cell(row, column, source, number)
        more = {
            name: str(row[given])
            for name in ("answer", "noun", "kind")
            if (given := getattr(source, name)) is not None and row.get(given)
        }
        found.append(Prompt(text, **more))
    return tuple(found)


def read_texts(source: TextSourceSection) -> tuple[Text, ...]:
    """The texts of a source: a chat of prompt and answer where an answer is named, else plain.

    Args:
        source: A file, data set or preset, with its columns and its class.

    Raises:
        PromptError: as for `read_prompts`.
    """
    prompts = read_prompts(source)
    if source.answer is None:
        return tuple(Text(p.text, source.text_class, p.noun) for p in prompts)
    return tuple(
        Text((("user", p.text), ("assistant", p.answer)), source.text_class, p.noun)
        for p in prompts
        if p.answer
    )


def _rows(source: SourceSection) -> tuple[SourceSection, list[Row]]:
    """The source with the columns of its preset, and its rows after selection."""
    where: dict[str, Any] = dict(source.where)
    if source.preset is not None:
        preset = _preset(source.preset)
        rows = _fetch(preset)
        where = {**preset.where, **where}
        names = ("column", "kind", "answer")
        own = {n: getattr(source, n) or getattr(preset, n) for n in names}
        source = source.model_copy(update=own)
    elif source.dataset is not None:
        rows = _load_dataset(source)
    else:
        rows = _read_file(Path(source.file or "").expanduser())
    kept = [row for row in rows if _matches(row, where, source)]
    start, end = ((source.rows or ":") + ":").split(":")[:2]
    kept = kept[int(start or 0) : int(end) if end else None]
    if not kept:
        raise PromptError(
            f"no row is left of {_name(source)} ({len(rows)} before selection)",
            expected="at least one row that `where` and `rows` let through",
            fix="widen `where` or `rows`",
        )
    return source, kept


def _matches(row: Row, where: Mapping[str, Any], source: SourceSection) -> bool:
    for column, wanted in where.items():
        if column not in row:
            raise _no_column(column, row, source)
        value = "" if row[column] is None else str(row[column])
        if value not in ([wanted] if isinstance(wanted, str) else list(wanted)):
            return False
    return True


def _cell(row: Row, column: str, source: SourceSection, number: int) -> str:
    if column not in row:
        raise _no_column(column, row, source)
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise PromptError(
            f"{_name(source)}, row {number}: column {column!r} holds {value!r}",
            expected="a prompt in every row",
            fix="name another column, or leave the row out with `where` or `rows`",
        )
    return value.strip()


def _find_column(row: Row, source: SourceSection) -> str:
    lower = {str(name).lower(): str(name) for name in row}
    for name in _COLUMNS:
        if name in lower:
            return lower[name]
    raise _no_column("text", row, source)


def _no_column(column: str, row: Row, source: SourceSection) -> PromptError:
    return PromptError(
        f"{_name(source)} has no column {column!r}",
        expected=f"one of its columns: {', '.join(map(str, row))}",
        fix="set `column` (or `answer`, `noun`, `kind`, `where`) to one of them",
    )


def _name(source: SourceSection) -> str:
    return str(source.preset or source.dataset or source.file)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise PromptError(
            f"there is no preset {name!r}",
            expected=f"one of {', '.join(PRESETS)}",
            fix="correct prompts.sets or prompts.texts, or name a `dataset` with its revision",
        )
    return PRESETS[name]


def _fetch(preset: Preset) -> list[Row]:
    kind = "parquet" if preset.file.endswith(".parquet") else "csv"
    return _through_datasets(preset.url, kind, data_files=preset.url, split="train")


def _load_dataset(source: SourceSection) -> list[Row]:
    assert source.dataset is not None
    return _through_datasets(
        f"{source.dataset}@{source.revision}",
        source.dataset,
        name=source.subset,
        revision=source.revision,
        split=source.split,
    )


def _through_datasets(said: str, path: str, **options: Any) -> list[Row]:
    from datasets import load_dataset

    try:
        return list(load_dataset(path, **options))
    except Exception as error:  # the library passes on whatever its readers and the network raise
        raise PromptError(
            f"{said} cannot be loaded: {reason(error)}",
            expected="a data set that can be reached, or that is in the cache",
            fix="check id, revision, subset and split, and the network; for a gated one accept its "
            "terms and set HF_TOKEN",
        ) from error


def _read_file(path: Path) -> list[Row]:
    readers = {
        ".txt": _read_lines,
        ".jsonl": _read_jsonl,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    if path.suffix not in readers:
        raise PromptError(
            f"{path} is a {path.suffix or 'file without an ending'}",
            expected=f"a file that ends in {', '.join(readers)}",
            fix="convert it, or correct `file`",
        )
    try:
        return list(readers[path.suffix](path))
    except (OSError, ValueError, csv.Error) as error:
        raise PromptError(
            f"{path} cannot be read: {reason(error)}",
            expected=f"a readable {path.suffix} file in UTF-8",
            fix="correct the path or the file",
        ) from error


def _read_lines(path: Path) -> Iterator[Row]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return ({"text": line} for line in lines if line.strip())


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            yield row


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet

    return iter(pyarrow.parquet.read_table(path).to_pylist())
