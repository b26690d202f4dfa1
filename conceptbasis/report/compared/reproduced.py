"""What differs between a run and the same run made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from conceptbasis.core.statistics.interval import Figure, Interval
from conceptbasis.evaluation.metrics import value_of, view_of
from conceptbasis.report.artifacts import Provenance, RunFolder
from conceptbasis.report.table import Row, Table, columns
from conceptbasis.results.summary import Summary
from conceptbasis.runs.summary import read_summary


@dataclass(frozen=True)
class ChangedFigure:
    """A figure that is another one the second time.

    Args:
        condition: Under which it was measured.
        name: Of the figure.
        first: What it was; None where it did not exist.
        again: What it is.
        within: Whether it lies in the interval of the first; None without an interval.
    """

    condition: str
    name: str
    first: Figure | None
    again: Figure | None
    within: bool | None


@dataclass(frozen=True)
class Reproduction:
    """What came of a run that was made again.

    Args:
        verdicts: The word of each.
        stages: By stage, files that differ or are missing in one; empty where all are the same.
        figures: Figures that differ.
        surroundings: What was not the same to begin with: by name, then and now.
    """

    verdicts: tuple[str, str]
    stages: Mapping[str, tuple[str, ...]]
    figures: tuple[ChangedFigure, ...]
    surroundings: Mapping[str, tuple[str, str]]

    @property
    def same_figures(self) -> bool:
        """Whether the verdict and every figure are the same."""
        return not self.figures and self.verdicts[0] == self.verdicts[1]

    @property
    def line(self) -> str:
        """The outcome in one sentence."""
        differ = [name for name, files in self.stages.items() if files]
        if not differ and self.same_figures:
            return f"reproduced: every file of {len(self.stages)} stages is the same"
        where = (
            f"artifacts differ from stage {differ[0]} on" if differ else "artifacts are the same"
        )
        if self.same_figures:
            return f"reproduced in every figure; {where}"
        outside = sum(figure.within is False for figure in self.figures)
        then, now = self.verdicts
        verdict = f"the verdict is {now}" + ("" if then == now else f", it was {then}")
        return (
            f"not reproduced: {len(self.figures)} figures differ, {outside} of them beyond their "
            f"first interval; {verdict}; {where}"
        )


def compare_runs(first: Path, again: Path) -> Reproduction:
    """Compares two runs of one configuration.

    Args:
        first: A finished run.
        again: The same run, made again.

    Raises:
        ArtifactError: if one is not finished, or a file is corrupt.
    """
    summaries = [read_summary(folder) for folder in (first, again)]
    then, now = (RunFolder(folder).provenance for folder in (first, again))
    names = [*then, *(name for name in now if name not in then)]
    return Reproduction(
        (summaries[0].verdict.word, summaries[1].verdict.word),
        {name: _files(then.get(name), now.get(name)) for name in names},
        tuple(_figures(*summaries)),
        dict(_surroundings(then, now)),
    )


def _files(then: Provenance | None, now: Provenance | None) -> tuple[str, ...]:
    old, new = (p.outputs if p else {} for p in (then, now))
    return tuple(sorted(f for f in {*old, *new} if old.get(f) != new.get(f)))


def _figures(then: Summary, now: Summary) -> Iterator[ChangedFigure]:
    old, new = (view_of(summary).conditions for summary in (then, now))
    for condition in dict.fromkeys([*old, *new]):
        before, after = old.get(condition, {}), new.get(condition, {})
        for name in dict.fromkeys([*before, *after]):
            first, again = before.get(name), after.get(name)
            if first != again:
                yield ChangedFigure(condition, name, first, again, _within(first, again))


def _within(first: Figure | None, again: Figure | None) -> bool | None:
    if not isinstance(first, Interval) or again is None:
        return None
    return first.low <= value_of(again) <= first.high


def _surroundings(
    then: Mapping[str, Provenance], now: Mapping[str, Provenance]
) -> Iterator[tuple[str, tuple[str, str]]]:
    old, new = ({k: v for p in side.values() for k, v in _about(p)} for side in (then, now))
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, (old.get(name, "–"), new.get(name, "–"))


def _about(provenance: Provenance) -> Iterator[tuple[str, str]]:
    yield from provenance.versions.items()
    yield "device", provenance.device


def reproduction_tables(found: Reproduction) -> list[Table]:
    """What differs, table by table; those with nothing in them are left out."""
    changed: list[Row] = [
        (f.condition, f.name, f.first, f.again, None if f.within is None else _yes(f.within))
        for f in found.figures
    ]
    around: list[Row] = [(name, *values) for name, values in found.surroundings.items()]
    stages: list[Row] = [(name, ", ".join(fs)) for name, fs in found.stages.items() if fs]
    words = ("condition", "figure", "then", "now", "within its interval")
    tables = [
        Table("Figures that differ", columns(*words, words=words[:2]), changed),
        Table("Not the same to begin with", columns("", "then", "now", words=("",)), around),
        Table("Stages whose files differ", columns("stage", "files", words=("files",)), stages),
    ]
    return [table for table in tables if table.body]


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
