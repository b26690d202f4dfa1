"""Folders that are whole or absent: made beside their place, and moved there at the end."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conceptbasis.errors import ArtifactError
from conceptbasis.runs.files import writing
from conceptbasis.runs.leftovers import remove_leftovers

_SPARE = 64 * 2**20
"""Bytes for what lies beside the weights: tokenizer, configuration, card."""


def check_new_folder(path: Path) -> None:
    """Finds out before long work whether a new folder can be written.

    Args:
        path: Where it is to be; a folder that is there must be empty.

    Raises:
        ArtifactError: Something is there already, or the place cannot be written.
    """
    if path.is_dir() and any(path.iterdir()):
        raise ArtifactError(
            f"{path} is a folder with files in it",
            expected="a new folder, or an empty one",
            fix="name another folder, or empty this one",
        )
    with writing(path):
        place = _nearest(path)
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_space(path: Path, n_bytes: int) -> None:
    """Refuses to begin what the disk has no room for.

    Args:
        path: What is to be written.
        n_bytes: Its size in bytes.

    Raises:
        ArtifactError: The disk has less room.
    """
    free, needed = shutil.disk_usage(_nearest(path)).free, n_bytes + _SPARE
    if free < needed:
        raise ArtifactError(
            f"the disk of {path} has {free / 1e9:.2f} GB free",
            expected=f"{needed / 1e9:.2f} GB",
            fix="free some space, or name a folder on another disk",
        )


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """The one way a folder is written: beside its place, which it takes when it is whole.

    Args:
        path: The folder; its parents are made.

    Yields:
        An empty temporary folder, to be filled by anything; it is gone afterwards, whatever
        happens.

    Raises:
        ArtifactError: as `check_new_folder`, or the disk is full.
    """
    check_new_folder(path)
    whole = path.resolve()
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}.tmp")
    remove_leftovers(whole.parent, whole.name)
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _settle(file)
            temporary.replace(whole)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _settle(file: Path) -> None:
    """Brings a file to the disk, readable by whom the umask lets: safetensors 0.8 makes it 0600."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod(0o666 & ~mask)
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())


def _nearest(path: Path) -> Path:
    """The nearest thing on the way to a path that is there already."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
