"""Bounds on SAE files of strangers: no file may claim more numbers than it holds.

safetensors checks this itself. An archive of numpy can be packed a thousandfold, and a tensor of
PyTorch may repeat a few stored numbers over any shape; both take memory only when they are read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from conceptbasis.errors import SaeError

_MOST_PACKED = 50
"""Trained weights pack at most twofold; files of zeros, such as a fresh bias, are small."""
_SMALL = 2**26


def check_archive(path: Path) -> None:
    """Refuses an archive whose files are much larger than itself.

    Raises:
        SaeError: It is no archive, or claims to hold too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise _too_much(path, f"it is no archive of arrays ({error})") from error
    if claimed > _MOST_PACKED * path.stat().st_size + _SMALL:
        raise _too_much(path, f"it unpacks to {claimed / 1e9:.1f} GB")


def check_stored(path: Path, stored: object) -> None:
    """Refuses what is no dictionary of tensors, or tensors larger than the numbers behind them.

    Raises:
        SaeError: in that case.
    """
    if not isinstance(stored, Mapping):
        raise _too_much(path, f"it holds a {type(stored).__name__}, not tensors by name")
    for name, value in stored.items():
        if not isinstance(value, Tensor):
            raise _too_much(path, f"{name} is a {type(value).__name__}, not a tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise _too_much(path, f"{name} claims {value.numel()} numbers and stores fewer")


def _too_much(path: Path, why: str) -> SaeError:
    return SaeError(
        f"{path} is not used: {why}",
        expected="a file of weights that holds all the numbers it speaks of",
        fix="fetch it again from its publisher, or use another SAE",
    )
