"""Figures of an evaluation that is not finished, from the outcomes that it has kept so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conceptbasis.behaviors import Behavior
from conceptbasis.evaluation.figures import condition_figures as pooled_figures
from conceptbasis.evaluation.measure import Kept, Outcome
from conceptbasis.evaluation.metrics import Figures, condition_figures
from conceptbasis.runs.files import read_json
from conceptbasis.runs.storage import from_json


@dataclass
class SoFar:
    """Conditions as they are measured.

    Args:
        folder: Where the evaluation keeps outcomes. Those that are there already may be of other
            settings, so only what is written from now on counts.
        behavior: What is measured.
    """

    folder: Path
    behavior: Behavior
    _seen: dict[Path, int] = field(default_factory=dict, init=False)
    _outcomes: dict[str, list[Outcome]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._seen = self._times()

    def _times(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.folder.glob("*_[0-9][0-9].json")}

    def read_new(self) -> Mapping[str, Figures]:
        """Figures of conditions of which something was measured since the last call.

        They are pooled over the draws that are there.
        """
        times = self._times()
        new = sorted(path for path, time in times.items() if self._seen.get(path) != time)
        self._seen = times
        for path in new:
            outcome = from_json(Kept, read_json(path), path).outcome
            self._outcomes.setdefault(path.stem.rpartition("_")[0], []).append(outcome)
        names = dict.fromkeys(path.stem.rpartition("_")[0] for path in new)
        return {
            name: condition_figures(
                pooled_figures(self._outcomes[name], self.behavior), self.behavior.words
            )
            for name in names
        }
