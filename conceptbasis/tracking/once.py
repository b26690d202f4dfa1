"""Which state of a run folder is logged, so that the same state is logged once."""

from __future__ import annotations

from pathlib import Path

from conceptbasis.config.run import TrackingSection
from conceptbasis.errors import ArtifactError
from conceptbasis.runs.files import file_hash, read_json, value_hash, write_json
from conceptbasis.runs.summary import SUMMARY

_RECORD = "wandb/logged.json"


def tracked_as(folder: Path, section: TrackingSection, mode: str) -> str:
    """What a log of a run folder depends on: its results, and where they go.

    Args:
        folder: A finished run.
        section: Project and entity.
        mode: online or offline.
    """
    return value_hash([file_hash(folder / SUMMARY), section.model_dump(mode="json"), mode])


def is_logged(folder: Path, key: str) -> bool:
    """Whether this state went to this place before; a damaged record counts as no."""
    try:
        return bool(read_json(folder / _RECORD, ("key",))["key"] == key)
    except (ArtifactError, OSError):
        return False


def remember_logged(folder: Path, key: str) -> None:
    """Keeps that this state is logged."""
    write_json(folder / _RECORD, {"key": key})
