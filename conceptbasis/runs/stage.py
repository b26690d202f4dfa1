"""The stages of a run: reused when nothing changed, recomputed with a reason.

A stage is a folder with `tensors.safetensors`, `result.json` and `provenance.json`. The provenance
is written last, so a stage that was killed half-way has none and is computed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptbasis.runs.files import (
    corrupt,
    file_hash,
    load_tensors,
    read_json,
    save_tensors,
    value_hash,
    versions,
    write_json,
)

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, RESULT, PROVENANCE = "tensors.safetensors", "result.json", "provenance.json"


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
