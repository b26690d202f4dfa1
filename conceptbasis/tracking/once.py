"""Which state of a folder is logged, so that the same state is logged once."""

from __future__ import annotations

import re
from pathlib import Path

from conceptbasis.config.run import TrackingSection
from conceptbasis.errors import ArtifactError
from conceptbasis.runs.files import check_place, read_json, value_hash, write_json


def tracked_as(state: str, section: TrackingSection, mode: str) -> str:
    """What a log depends on: what is logged, and where it goes.

    Args:
        state: A hash of what is logged.
        section: Its project and entity count; mode and group do not make another log.
        mode: online or offline, as the run would be logged now.
    """
    return value_hash([state, section.project, section.entity, mode])


def is_logged(folder: Path, key: str, name: str = "") -> bool:
    """Whether this state went to this place before; a damaged record counts as no.

    Args:
        folder: The folder of the log.
        key: As `tracked_as` gives it.
        name: Of what is logged, where a folder has several logs.
    """
    try:
        return bool(read_json(_record(folder, name), ("key",))["key"] == key)
    except (ArtifactError, OSError):
        return False


def remember_logged(folder: Path, key: str, name: str = "") -> None:
    """Keeps that this state is logged."""
    write_json(_record(folder, name), {"key": key})


def check_log_folder(folder: Path) -> None:
    """Finds out before long work whether a log can be written there.

    Raises:
        ArtifactError: if it cannot.
    """
    check_place(_record(folder, ""))


def _record(folder: Path, name: str) -> Path:
    more = re.sub(r"\W+", "-", f"-{name}") if name else ""
    return folder / "wandb" / f"logged{more}.json"
