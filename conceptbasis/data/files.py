"""The one reader of files with prompts and texts: UTF-8 with or without a byte order mark."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptbasis.errors import PromptError, reason

Row = Mapping[str, Any]
TABLES = (".jsonl", ".csv", ".parquet")
"""Endings of files with named columns."""
_DELIMITERS = ",;\t"
_END = r"(?:\r\n|\r|\n)"
_BEFORE_HEADER = re.compile(
    rf'(?:[ ,;\t]*{_END})*(?:"?sep=(?P<sep>[^\r\n"])"?[ ,;\t]*{_END}(?:[ ,;\t]*{_END})*)?',
    re.IGNORECASE,
)
"""Rows without words, and the line by which a spreadsheet states what stands between cells."""


def read_file(path: Path) -> list[Row]:
    """The rows of a .txt, .jsonl, .csv or .parquet file; the ending may be in capitals.

    Raises:
        PromptError: it cannot be read, with the line where there is one.
    """
    readers: Mapping[str, Callable[[Path], Iterator[Row]]] = {
        ".txt": lambda path: ({"text": line} for _, line in read_lines(path)),
        ".jsonl": lambda path: (row for _, row in read_jsonl(path)),
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    ending = path.suffix.lower()
    if ending not in readers:
        raise PromptError(
            f"{path} is a {ending or 'file without an ending'}",
            expected=f"a file that ends in {', '.join(readers)}",
            fix="convert it, or correct `file`",
        )
    try:
        return list(readers[ending](path))
    except (OSError, ValueError) as error:
        raise PromptError(
            f"{path} cannot be read: {reason(error)}",
            expected=f"a readable {ending} file in UTF-8",
            fix="correct the path or the file",
        ) from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers.

    Raises:
        PromptError: the file is missing or not in UTF-8.
    """
    text = read_text(path)
    return ((i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip())


def read_jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    """The objects of a JSON-lines file, with the numbers of their lines.

    Raises:
        PromptError: a line is no JSON object, or the file is missing or not in UTF-8.
    """
    for number, line in read_lines(path):
        try:
            row = json.loads(line, object_pairs_hook=_unlike_keys)
        except (ValueError, RecursionError) as error:
            raise bad_row(path, number, str(error)) from error
        if not isinstance(row, dict):
            raise bad_row(path, number, "not a JSON object")
        if "\\ud" in line.lower():
            check_characters(json.dumps(row, ensure_ascii=False), f"{path}, line {number}")
        yield number, row


def _unlike_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} is given twice")
    return row


def bad_row(path: Path, number: int, why: str) -> PromptError:
    """The error for a line that cannot be used."""
    return PromptError(
        f"{path}, line {number}: {why}",
        expected="one JSON object per line",
        fix="correct or remove that line",
    )


def check_characters(text: str, where: str) -> None:
    """Refuses text that no tokenizer can read.

    Raises:
        PromptError: it holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{where}: half of a character, {text[error.start]!r}",
            expected="text in Unicode; an emoji as JSON escapes takes two of them, \\ud83d\\ude00",
            fix="write the character itself, in UTF-8, or leave the half out",
        ) from error


def read_text(path: Path) -> str:
    """A text file in UTF-8; the ends of its lines become `\\n`.

    Raises:
        PromptError: the file is missing or not in UTF-8.
    """
    return _decoded(path).replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path) -> str:
    """A file's text; byte order marks are dropped, at the start of any line, as of joined files."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PromptError(
            f"{path} cannot be read: {error.strerror}",
            expected="a readable text file in UTF-8",
            fix="correct the path or its permissions",
        ) from error
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise _other_encoding(path, 1, "UTF-16")
        if b"\0" in data:
            raise _other_encoding(path, data[: data.index(b"\0")].count(b"\n") + 1, "UTF-16")
        return re.sub("(^|\n)\ufeff+", r"\1", data.decode())
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _other_encoding(path, line, "WINDOWS-1252") from error


def _other_encoding(path: Path, line: int, guess: str) -> PromptError:
    return PromptError(
        f"{path}, line {line}: not in UTF-8",
        expected="a text file in UTF-8",
        fix=f"save it as UTF-8; if it is in {guess}: iconv -f {guess} -t UTF-8 FILE > NEW",
    )


def _read_csv(path: Path) -> Iterator[Row]:
    """Rows by the names of the header; commas, semicolons or tabs between cells."""
    text = _decoded(path)
    before = _BEFORE_HEADER.match(text)
    assert before is not None  # it matches nothing at all
    text, above = text[before.end() :], len(re.findall(_END, before[0]))
    header = re.sub('"[^"]*"', "", re.split("[\r\n]", text)[0])
    delimiter = before["sep"] or max(_DELIMITERS, key=header.count)
    rows = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    begun = above + 1
    try:
        rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        _check_header(rows.fieldnames)
        begun = above + rows.line_num + 1
        for row in rows:
            if None in row:
                raise _too_many_cells(path, above + rows.line_num, rows.fieldnames, delimiter)
            yield row
            begun = above + rows.line_num + 1
    except csv.Error as error:
        raise PromptError(
            f"{path}, line {begun}: {error}",
            expected="cells that are quoted as a whole, with each quote inside them doubled",
            fix='close the quote, or write "say ""plum"", please"',
        ) from error


def _check_header(names: Sequence[str]) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"its header names the column {twice[0]!r} twice")


def _too_many_cells(path: Path, line: int, names: Sequence[str], delimiter: str) -> PromptError:
    return PromptError(
        f"{path}, line {line}: more cells than the header has names",
        expected=f"{len(names)} cells, with {delimiter!r} between them",
        fix='put cells that hold a comma between quotes: "salt, pepper"',
    )


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet

    return iter(pyarrow.parquet.read_table(path).to_pylist())
