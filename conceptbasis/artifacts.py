"""Files of a run: atomic, hashed, reused when nothing changed, recomputed with a reason.

A stage is a folder with `tensors.safetensors`, `result.json` and `provenance.json`. The provenance
is written last, so a stage that was killed half-way has none and is computed again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from conceptbasis.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, RESULT, PROVENANCE = "tensors.safetensors", "result.json", "provenance.json"
CONFIG = "config.yaml"
"""The resolved settings of a run, at the top of its folder."""
_VERSIONED = ("conceptbasis", "torch", "transformers", "sae-lens", "numpy", "scikit-learn")


def cache_folder() -> Path:
    """Where organisms and SAEs are kept: `$CONCEPTBASIS_CACHE`, else the user's cache folder."""
    from platformdirs import user_cache_path

    override = os.environ.get("CONCEPTBASIS_CACHE")
    return Path(override) if override else user_cache_path("conceptbasis", appauthor=False)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file atomically: a temporary file beside it, then a rename.

    Raises:
        ArtifactError: if the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> ArtifactError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArtifactError(
            f"the disk is full while writing {path}",
            expected="free space for the run folder",
            fix="free some space or choose another --out, then run the same command again; "
            "finished stages are reused",
        )
    return ArtifactError(
        f"cannot write {path}: {error.strerror}",
        expected="a folder that can be written",
        fix="check its permissions or choose another --out",
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says what it means when another library cannot write below `path`.

    Raises:
        ArtifactError: if the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error
    except SafetensorError as error:
        # It carries the number of the system's error in its words only.
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise _cannot_write(path, OSError(int(found[1]), str(error))) from error


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


SUMMARY_KEYS = ("donor", "target", "budget", "basis", "mode", "conditions", "verdict")
"""What a `summary.json` holds at least."""


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
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
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
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        found[name] = metadata.version(name)
    return found


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds a folder for this process.

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
        yield


@dataclass(frozen=True)
class StageOutput:
    """What a stage left: its tensors, its figures, and a hash over both."""

    name: str
    folder: Path
    tensors: Mapping[str, Tensor]
    result: Mapping[str, Any]
    hash: str
    reused: bool
    seconds: float


@dataclass
class Run:
    """A run folder and the log line printer its stages report to.

    Args:
        folder: The run's folder.
        say: Prints one line.
        detail: Prints one line that only some want.
    """

    folder: Path
    say: Callable[[str], None]
    detail: Callable[[str], None] = lambda line: None
    seconds: dict[str, float] = field(default_factory=dict)

    def stage(
        self,
        name: str,
        *,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        seed: int = 0,
        device: str = "cpu",
    ) -> StageOutput:
        """Returns the stage's output, computing it if its inputs changed.

        Args:
            name: Folder of the stage below the run folder.
            config: The slice of the configuration it depends on.
            inputs: Hashes of what it reads, by name.
            compute: Makes tensors and figures.
            seed: Recorded, and part of what decides about reuse.
            device: Recorded.
        """
        folder = self.folder / name
        key = {
            "config": _plain(config),
            "inputs": dict(inputs),
            "seed": seed,
            "version": metadata.version("conceptbasis"),
        }
        reason = _reason_to_compute(folder, key)
        if reason is None:
            output = _load_stage(name, folder)
            self.say(f"{name}: reused")
            self.seconds[name] = output.seconds
            return output
        self.say(f"{name}: {reason}")
        started = time.perf_counter()
        tensors, result = compute()
        _finish_stage(folder, key, tensors, result, time.perf_counter() - started, device)
        output = _load_stage(name, folder)
        self.seconds[name] = output.seconds
        self.detail(f"{name}: {output.seconds:.1f} s")
        return StageOutput(**{**output.__dict__, "reused": False})


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _reason_to_compute(folder: Path, key: Mapping[str, Any]) -> str | None:
    path = folder / PROVENANCE
    if not path.exists():
        return "computing (nothing there yet)" if not folder.exists() else "computing (unfinished)"
    old = _read_provenance(path)
    for part in ("config", "inputs"):
        before, now = old[part], key[part]
        changed = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        if changed:
            return f"recomputing, because {part} changed: {', '.join(changed)}"
    for part in ("seed", "version"):
        if old.get(part) != key[part]:
            return f"recomputing, because the {part} changed: {old.get(part)} to {key[part]}"
    return None


def _read_provenance(path: Path) -> dict[str, Any]:
    found = read_json(path)
    sections = ("config", "inputs", "outputs")
    if not isinstance(found, dict) or not all(isinstance(found.get(s), dict) for s in sections):
        raise corrupt(path, f"it has not the sections {', '.join(sections)}")
    if not {TENSORS, RESULT} <= found["outputs"].keys():
        raise corrupt(path, "it holds no hash of some output")
    return found


def _finish_stage(
    folder: Path,
    key: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    result: Mapping[str, Any],
    seconds: float,
    device: str,
) -> None:
    (folder / PROVENANCE).unlink(missing_ok=True)
    save_tensors(folder / TENSORS, tensors)
    write_json(folder / RESULT, result)
    provenance = {
        **key,
        "outputs": {name: file_hash(folder / name) for name in (TENSORS, RESULT)},
        "versions": versions(),
        "device": device,
        "seconds": round(seconds, 3),
    }
    write_json(folder / PROVENANCE, provenance)


def load_stage(folder: Path, name: str) -> StageOutput:
    """Loads a finished stage of a run folder and verifies its hashes.

    Raises:
        ArtifactError: if it is missing, unfinished, corrupt or was changed by hand.
    """
    return _load_stage(name, folder / name)


def _load_stage(name: str, folder: Path) -> StageOutput:
    provenance = _read_provenance(folder / PROVENANCE)
    for file, expected in provenance["outputs"].items():
        if not (folder / file).exists():
            raise corrupt(folder / file, "missing")
        if file_hash(folder / file) != expected:
            raise corrupt(folder / file, "its hash is not the one recorded")
    return StageOutput(
        name,
        folder,
        load_tensors(folder / TENSORS),
        read_json(folder / RESULT),
        value_hash(provenance["outputs"]),
        True,
        float(provenance.get("seconds", 0.0)),
    )
