"""The finished stages of a run folder, read as what they left, without tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from conceptbasis.runs.files import CONFIG, corrupt, read_json
from conceptbasis.runs.storage import read_result

PROVENANCE = "provenance.json"

R = TypeVar("R")


@dataclass(frozen=True)
class Provenance:
    """What a stage was made from and by, as the page shows it.

    Args:
        inputs: Hashes of results and sources that it read, by name.
        outputs: Hashes of its files.
        seed: Of the run.
        versions: Of libraries, by name.
        device: Where it ran.
        seconds: How long it took.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seed: int
    versions: Mapping[str, str]
    device: str
    seconds: float


@dataclass(frozen=True)
class RunFolder:
    """A run folder; a stage without provenance did not finish and is as good as missing."""

    path: Path

    def finished(self, stage: str) -> bool:
        """Whether a stage came to its end."""
        return (self.path / stage / PROVENANCE).exists()

    def read(self, stage: str, kind: type[R]) -> R | None:
        """What a stage left; None where it did not finish.

        Raises:
            ArtifactError: if it is corrupt, or of another version.
        """
        return read_result(self.path / stage, kind, tensors=False) if self.finished(stage) else None

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The key `run` of the configuration, as it was written; empty without one."""
        path = self.path / CONFIG
        if not path.exists():
            return {}
        from conceptbasis.config.base import load_yaml

        found = load_yaml(path).get("run")
        if not isinstance(found, dict):
            raise corrupt(path, "it holds no settings under `run`")
        return found

    def setting(self, section: str, key: str) -> object:
        """One setting; None where the file does not have it."""
        found = self.settings.get(section)
        return found.get(key) if isinstance(found, dict) else None

    @cached_property
    def provenance(self) -> dict[str, Provenance]:
        """Of every finished stage, in an order in which they can have run."""
        paths = sorted(self.path.glob(f"*/{PROVENANCE}"), key=lambda path: path.stat().st_mtime_ns)
        found = {path.parent.name: _provenance(path) for path in paths}
        ordered: dict[str, Provenance] = {}
        while found:
            ready = next((n for n, p in found.items() if not found.keys() & p.inputs.keys()), None)
            name = ready or next(iter(found))
            ordered[name] = found.pop(name)
        return ordered


def _provenance(path: Path) -> Provenance:
    names = [*Provenance.__dataclass_fields__]
    plain = read_json(path, names)
    return Provenance(**{name: plain[name] for name in names})
