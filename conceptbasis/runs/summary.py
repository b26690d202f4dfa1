"""Reads and writes `summary.json`; free of tensor libraries, so that `compare` answers at once."""

from __future__ import annotations

from pathlib import Path

from conceptbasis.errors import ArtifactError
from conceptbasis.results.summary import SCHEMA, Summary
from conceptbasis.runs.files import corrupt, read_json, write_json
from conceptbasis.runs.storage import from_json, to_json

SUMMARY = "summary.json"


def write_summary(folder: Path, summary: Summary) -> None:
    """Writes `summary.json` into a run folder, atomically."""
    write_json(folder / SUMMARY, to_json(summary))


def read_summary(folder: Path) -> Summary:
    """The summary of a run folder.

    Raises:
        ArtifactError: if it is missing, corrupt, or was written by another version.
    """
    path = folder / SUMMARY
    plain = read_json(path)
    if not isinstance(plain, dict) or "schema" not in plain:
        raise corrupt(path, "it does not hold schema")
    if plain["schema"] != SCHEMA:
        raise ArtifactError(
            f"{path} was written by another version (schema {plain['schema']!r})",
            expected=f"schema {SCHEMA}",
            fix="run the command that made this run again on its folder; it renews the summary",
        )
    return from_json(Summary, plain, path)
