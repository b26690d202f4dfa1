"""Which code a run was made by: the version, and the commit where it lies in a git checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import conceptbasis

_SECONDS = 10


def code_version() -> dict[str, str | bool]:
    """`version`; in a checkout also `commit`, and whether tracked files were `changed` since."""
    found: dict[str, str | bool] = {"version": conceptbasis.__version__}
    package = Path(conceptbasis.__file__).parent
    # An installed package may lie below a repository of something else, which does not track it.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return found
    commit, changed = _git(package, "rev-parse", "HEAD"), _git(package, *_STATUS)
    if commit and changed is not None:
        found |= {"commit": commit, "changed": bool(changed)}
    return found


_STATUS = ("status", "--porcelain", "--untracked-files=no", ".")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None without git, without a checkout, or where it refuses."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
