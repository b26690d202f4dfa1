"""Offline runs of a folder, and how they are uploaded."""

from __future__ import annotations

import shlex
from pathlib import Path


def offline_runs(folder: Path) -> list[Path]:
    """Folders of offline runs that were not uploaded yet, by the second in which they began.

    Args:
        folder: What they are the logs of; they lie under `wandb/` in it.
    """
    found = sorted((folder / "wandb").glob("offline-run-*"))
    return [run for run in found if not any(run.glob("*.wandb.synced"))]


def sync_command(folder: Path) -> str | None:
    """The command that uploads them, quoted for a shell; None where there is nothing to upload.

    Args:
        folder: What they are the logs of.
    """
    runs = offline_runs(folder)
    return shlex.join(["wandb", "sync", *map(str, runs)]) if runs else None
