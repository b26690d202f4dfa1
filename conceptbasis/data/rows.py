"""Rows of files, data sets of the hub and presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptbasis.config.prompts import SourceSection
from conceptbasis.data.files import Row, read_file
from conceptbasis.data.presets import PRESETS, Preset
from conceptbasis.errors import PromptError, reason

_COLUMNS = ("text", "prompt", "instruction", "goal", "question")
"""Where the prompt is looked for when no column is named, in this order, in any case."""


def read_rows(source: SourceSection) -> tuple[SourceSection, list[Row]]:
    """The source with the columns of its preset, and its rows after selection.

    Raises:
        PromptError: it cannot be read, lacks a column, or has no rows left.
    """
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
        rows = read_file(Path(source.file or "").expanduser())
    for name in ("answer", "noun", "kind"):
        column = getattr(source, name)
        if column is not None and rows and not any(column in row for row in rows):
            raise _no_column(column, rows[0], source, name)
    kept = [row for row in rows if _matches(row, where, source)]
    start, end = ((source.rows or ":") + ":").split(":")[:2]
    kept = kept[int(start or 0) : int(end) if end else None]
    if not kept:
        raise PromptError(
            f"no row is left of {source_name(source)} ({len(rows)} before selection)",
            expected="at least one row that `where` and `rows` let through",
            fix="widen `where` or `rows`",
        )
    return source, kept


def _matches(row: Row, where: Mapping[str, Any], source: SourceSection) -> bool:
    for column, wanted in where.items():
        if column not in row:
            raise _no_column(column, row, source, "where")
        value = "" if row[column] is None else str(row[column])
        if value not in ([wanted] if isinstance(wanted, str) else list(wanted)):
            return False
    return True


def read_cell(row: Row, column: str, source: SourceSection, number: int) -> str:
    """The prompt in a row.

    Raises:
        PromptError: if the column is missing or empty.
    """
    if column not in row:
        raise _no_column(column, row, source)
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise PromptError(
            f"{source_name(source)}, row {number}: column {column!r} holds {value!r}",
            expected="a prompt in every row",
            fix="name another column, or leave the row out with `where` or `rows`",
        )
    return value.strip()


def find_column(row: Row, source: SourceSection) -> str:
    """The column of the prompt where none is named.

    Raises:
        PromptError: if no column has one of the usual names.
    """
    lower = {str(name).lower(): str(name) for name in row}
    for name in _COLUMNS:
        if name in lower:
            return lower[name]
    raise _no_column("text", row, source)


def _no_column(column: str, row: Row, source: SourceSection, key: str = "column") -> PromptError:
    return PromptError(
        f"{source_name(source)} has no column {column!r} (`{key}`)",
        expected=f"one of its columns: {', '.join(map(str, row))}",
        fix=f"set `{key}` to one of them",
    )


def source_name(source: SourceSection) -> str:
    """How a source is called in messages."""
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
