"""What a process that was killed in the middle of a write leaves behind, and who takes it away."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\.(.+)\.(\d+)\.tmp")


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Deletes temporary files and folders of processes that have ended.

    Args:
        folder: Where they lie.
        name: Of what they were to become, directly in the folder; None for all, also below it.
    """
    for path in list(folder.glob(".*.tmp") if name else folder.rglob(".*.tmp")):
        found = _TEMPORARY.fullmatch(path.name)
        if found is None or name not in (None, found[1]) or _runs(int(found[2])):
            continue
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _runs(number: int) -> bool:
    """Whether a process of this number is there; one of another user counts."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
