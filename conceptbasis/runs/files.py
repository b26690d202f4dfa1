"""Files of a run: written atomically, hashed, read with errors that say what to do, locked."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from conceptbasis.errors import ArtifactError, ConceptBasisError
from conceptbasis.runs.leftovers import remove_leftovers

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.yaml"
"""The resolved settings of a run, at the top of its folder."""
_VERSIONED = ("conceptbasis", "torch", "transformers", "sae-lens", "numpy", "scikit-learn")


def cache_folder() -> Path:
    """Where organisms and SAEs are kept: `$CONCEPTBASIS_CACHE`, else the user's cache folder."""
    from platformdirs import user_cache_path

    override = os.environ.get("CONCEPTBASIS_CACHE")
    return Path(override) if override else user_cache_path("conceptbasis", appauthor=False)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The one way a file is written: a temporary file beside it, which takes its place when whole.

    Args:
        path: The file; its folder is made.

    Yields:
        The temporary file, to be written by anything; it is gone afterwards, whatever happens.

    Raises:
        ArtifactError: if the disk is full or the place cannot be written.
    """
    if not path.name:  # the folder itself, as `.`, `/` and an empty name say it
        raise _cannot_write(path, _is_folder())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise _is_folder()
            temporary.open("wb").close()
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_place(path: Path) -> None:
    """Finds out before long work whether a file can be written.

    Raises:
        ArtifactError: as `replacing` would.
    """
    with suppress(_Enough), replacing(path):
        raise _Enough


class _Enough(Exception):
    """Ends a trial before anything is replaced."""


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file atomically.

    Raises:
        ArtifactError: if the disk is full or the place cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def save_torch(path: Path, value: Any) -> None:
    """Writes atomically what `torch.load` reads, without a second copy of it in memory.

    Raises:
        ArtifactError: if the disk is full or the place cannot be written.
    """
    import torch

    with replacing(path) as temporary, temporary.open("wb") as handle:
        try:
            torch.save(value, handle)
        except RuntimeError as error:
            # torch speaks of positions in the file; the system's own error stands behind that.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _is_folder() -> OSError:
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _cannot_write(path: Path, error: OSError) -> ArtifactError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArtifactError(
            f"the disk is full while writing {path}",
            expected="free space there",
            fix="free some space or choose another place, then run the same command again; "
            "finished stages are reused",
        )
    return ArtifactError(
        f"cannot write {path}: {error.strerror}",
        expected="a file in a folder that can be written",
        fix="check its permissions or choose another place",
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says what it means when another library cannot write below `path`.

    Raises:
        ArtifactError: if the disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error
    except Exception as error:
        # safetensors and tokenizers carry the number of the system's error in their words only.
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None or isinstance(error, ConceptBasisError):
            raise
        raise _cannot_write(path, OSError(int(found[1]), os.strerror(int(found[1])))) from error


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically; NaN and infinity are errors, since JSON has neither."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise ArtifactError(
            f"{path.name} would contain a number that is not finite",
            expected="finite numbers, or null where a figure does not exist",
            fix="this is a defect or the input holds NaN; please report it with the run folder",
        ) from error
    write_text(path, text + "\n")


def read_json(path: Path, keys: Sequence[str] = ()) -> Any:
    """Reads JSON.

    Args:
        path: A file.
        keys: What it must hold, if it has to be an object.

    Raises:
        ArtifactError: if the file is missing, is not JSON, or lacks a key.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} is missing",
            expected="a file that an earlier stage wrote",
            fix="run the command that makes this run again; it goes on where it stopped",
        ) from error
    except (ValueError, RecursionError, OSError) as error:
        raise corrupt(path, str(error)) from error
    lacking = [key for key in keys if not isinstance(found, dict) or key not in found]
    if lacking:
        raise corrupt(path, f"it does not hold {', '.join(lacking)}")
    return found


def check_run_folder(folder: Path) -> None:
    """Refuses a folder in which no run was started.

    Raises:
        ArtifactError: if it is missing, is a file, or holds no configuration of a run.
    """
    if (folder / CONFIG).is_file() or (folder / "summary.json").is_file():
        return
    why = "there is no such folder" if not folder.exists() else f"it holds no {CONFIG}"
    raise ArtifactError(
        f"{folder} is not a run folder ({why})",
        expected="the folder that `transfer --out` or `demo --out` wrote, for example runs/demo",
        fix="correct the path, or make a run first with `conceptbasis demo`",
    )


def corrupt(path: Path, why: str) -> ArtifactError:
    """The error for a file that is not as it was written."""
    fix = f"delete the folder {path.parent} and run again; only that stage is recomputed"
    if (path.parent / CONFIG).exists():
        # The file stands beside the stages, so the whole run must not be deleted for it.
        fix = "run the command that made this run again; it writes this file anew from its stages"
    return ArtifactError(
        f"{path} is corrupt or truncated ({why})",
        expected="the file as it was written",
        fix=fix,
    )


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors as safetensors, atomically."""
    from safetensors.torch import save

    write_bytes(path, save({name: t.detach().contiguous().cpu() for name, t in tensors.items()}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file, memory-mapped.

    Raises:
        ArtifactError: if it is missing, corrupt or truncated.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} is missing",
            expected="tensors that an earlier stage wrote",
            fix="run the command that makes this run again",
        ) from error
    except (SafetensorError, OSError) as error:
        raise corrupt(path, str(error)) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def value_hash(value: Any) -> str:
    """SHA-256 of a JSON-like value in canonical form, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_hash(folder: Path, pattern: str = "**/*") -> str:
    """SHA-256 over the names and contents of a folder's files."""
    files = sorted(p for p in folder.glob(pattern) if p.is_file())
    return value_hash([(str(p.relative_to(folder)), file_hash(p)) for p in files])


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        found[name] = metadata.version(name)
    return found


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; what a killed one left half-written in it is deleted.

    Raises:
        ArtifactError: if another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle: IO[str] = (folder / ".lock").open("w")
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArtifactError(
                f"{folder} is in use by another process",
                expected="one process at a time per folder",
                fix="run the same command again when the other process has ended; for a run "
                "folder, another --out will do too",
            ) from error
        remove_leftovers(folder)
        yield
