"""Which wandb run belongs to a folder, so that a transfer that goes on continues its own run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conceptbasis.errors import ArtifactError
from conceptbasis.runs.files import read_json, write_json
from conceptbasis.runs.storage import from_json, to_json

OF_ONE_RUN = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_RESUME", "WANDB_NAME")
"""What wandb reads of the environment for every run of a process, although it means one."""


@dataclass(frozen=True)
class OwnRun:
    """The wandb run of a folder.

    Args:
        id: wandb's name for it.
        key: Hash of what it logs and where; another key is another run.
        step: The next step of its history. wandb counts an offline run that goes on from 0 again.
        stages: Stages that are logged.
        finished: Whether it came to its end.
        resumed: Whether it began in an earlier process.
    """

    id: str
    key: str
    step: int = 0
    stages: tuple[str, ...] = ()
    finished: bool = False
    resumed: bool = field(default=False, compare=False)


def find_own_run(folder: Path, key: str) -> OwnRun:
    """The run that goes on in a folder, or a new one where none was interrupted there.

    `WANDB_RUN_ID`, which an agent of a sweep gives, goes first.

    Args:
        folder: The run folder.
        key: Of what is to be logged.
    """
    given = os.environ.get("WANDB_RUN_ID", "").strip()
    known = read_own_run(folder)
    if known and known.key == key and not known.finished and given in ("", known.id):
        return replace(known, resumed=True)
    return OwnRun(given or secrets.token_hex(4), key)


def read_own_run(folder: Path) -> OwnRun | None:
    """The run that was last logged of a folder; a damaged record counts as none."""
    path = _record(folder)
    try:
        return from_json(OwnRun, read_json(path), path)
    except (ArtifactError, OSError):
        return None


def write_own_run(folder: Path, run: OwnRun) -> None:
    """Keeps how far a run is logged.

    Raises:
        ArtifactError: if it cannot be written.
    """
    write_json(_record(folder), to_json(replace(run, resumed=False)))


def _record(folder: Path) -> Path:
    return folder / "wandb" / "run.json"


@contextmanager
def variables_of_one_run(*, meant: bool) -> Iterator[None]:
    """Keeps id and sweep of the environment from a run that they do not mean.

    Args:
        meant: Whether they mean the run that is started inside.
    """
    if meant:
        yield
        return
    import wandb

    # wandb has read the environment when it was set up, before this.
    settings: Any = wandb.setup().settings
    fields = ("run_id", "sweep_id", "resume", "run_name")
    kept = {name: os.environ.pop(name) for name in OF_ONE_RUN if name in os.environ}
    known = {name: getattr(settings, name) for name in fields}
    try:
        for name in fields:
            setattr(settings, name, None)
        yield
    finally:
        os.environ.update(kept)
        for name, value in known.items():
            setattr(settings, name, value)
