"""Where transfers end: runs of one pair with one thing varied, and what the forecast had said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from conceptbasis.core.statistics.calibration import Errors, forecast_errors, out_of_pair, spearman
from conceptbasis.errors import ArtifactError
from conceptbasis.evaluation.metrics import RunView, share_of_native, view_of
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.table import (
    MISSING,
    Cell,
    Column,
    In,
    Row,
    Table,
    columns,
    markdown,
    percent,
)
from conceptbasis.results.edit import Forecast
from conceptbasis.results.summary import Summary
from conceptbasis.runs.files import CONFIG, write_bytes, write_text
from conceptbasis.runs.summary import SUMMARY, read_summary

BASE, NOTHING = "base", "no_transfer"
"""Names of the run with all defaults, and of the file that marks a value without a transfer."""
_FAILED = 0.5
"""A transfer that brings less than this share of native's reduction has failed."""
_BOUNDS = {name: f"min_{name}" for name in ("eligible_mass", "agreement", "neighbour_effect")}
"""Figures of the forecast that decide, with the keys of their bounds."""


@dataclass(frozen=True)
class LimitRun:
    """One run of an axis.

    Args:
        axis: What is varied.
        value: To what.
        summary: Its summary, None where nothing was left to transfer or the run did not finish.
        forecast: What its stage `forecast` left.
        bounds: The forecast's bounds, by key.
        finished: Whether it came to an end, with or without a transfer.
    """

    axis: str
    value: str
    summary: Summary | None
    forecast: Forecast | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)
    finished: bool = True

    @property
    def view(self) -> RunView | None:
        """Its figures; None where nothing was evaluated."""
        if self.summary is None or not self.summary.conditions:
            return None
        return view_of(self.summary)

    @property
    def success(self) -> float | None:
        """The fall of the rate as a share of native's; None where nothing was evaluated."""
        view = self.view
        return None if view is None else share_of_native(view)

    @property
    def pair(self) -> str:
        """Both models, whatever their SAEs."""
        assert self.summary is not None
        return f"{self.summary.donor.model} {self.summary.target.model}"

    @property
    def figures(self) -> dict[str, float | None]:
        """Everything that was known before the edit, by name."""
        assert self.summary is not None
        known = self.summary.forecast
        found: dict[str, float | None] = {n: f.value if f else None for n, f in known.items()}
        score, null = known.get("svcca"), known.get("svcca_null")
        if score and null:
            found["svcca_over_null"] = score.value - null.value
        found["covered_share"] = self.forecast.covered_share if self.forecast else None
        halves = self.summary.recipe.stability
        cosine, jaccard = (halves.target_cosine, halves.donor_jaccard) if halves else (None, None)
        found["stability_target_cosine"] = cosine.mean if cosine else None
        found["stability_donor_jaccard"] = jaccard.mean if jaccard else None
        return found


def read_limits(folder: Path) -> tuple[LimitRun | None, dict[str, list[LimitRun]]]:
    """The base run and the runs of each axis, values in order.

    Args:
        folder: As `scripts/limits.sh` writes it: `base` and AXIS/VALUE below it.

    Raises:
        ArtifactError: if there is no run below it.
    """
    if not folder.is_dir():
        raise _nothing(folder)
    base = read_run(folder / BASE, "", BASE) if (folder / BASE / SUMMARY).exists() else None
    axes = {}
    for axis in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != BASE):
        runs = [path for path in axis.iterdir() if _is_run(path)]
        if runs:
            runs.sort(key=lambda path: _order(path.name))
            axes[axis.name] = [read_run(path, axis.name, path.name) for path in runs]
    if base is None and not axes:
        raise _nothing(folder)
    return base, axes


def _nothing(folder: Path) -> ArtifactError:
    return ArtifactError(
        f"{folder} holds no runs",
        expected="the folder that scripts/limits.sh wrote: base, and AXIS/VALUE below it",
        fix="correct the path, or run scripts/limits.sh first",
    )


def _order(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def read_run(folder: Path, axis: str, value: str) -> LimitRun:
    """One run folder; without a summary nothing was left to transfer, or it did not finish."""
    if not (folder / SUMMARY).exists():
        return LimitRun(axis, value, None, finished=(folder / NOTHING).exists())
    run = RunFolder(folder)
    return LimitRun(axis, value, read_summary(folder), run.read("forecast", Forecast), _bounds(run))


def _bounds(run: RunFolder) -> dict[str, float]:
    """The bounds that a run's forecast had."""
    from conceptbasis.config.run import RunConfig

    given = run.settings.get("forecast") or {}
    found = RunConfig().forecast.model_dump() | given
    return {name: found[key] for name, key in _BOUNDS.items()}


def limits_table(runs: Iterable[LimitRun]) -> Table:
    """A row per run."""
    runs = list(runs)
    views = [view for run in runs if (view := run.view) is not None]
    words = views[0].about.words if views else None
    names = ["axis", "value", "atoms", words.noun if words else "rate", "share of native", "early"]
    names += [words.recovered if words else "recovered", "benign", "first-token KL"]
    names += ["eligible mass", "agreement", "same recipe", "forecast"]
    return Table("", columns(*names), [_row(run, len(names)) for run in runs])


def _row(run: LimitRun, width: int) -> list[Cell]:
    view, first = run.view, [run.axis or MISSING, run.value]
    if view is None or run.summary is None:
        return [*first, "no transfer" if run.finished else "not finished", *[None] * (width - 3)]
    after, known, recipe = view.of("transfer"), run.figures, run.summary.recipe
    atoms = [_mean(recipe.n_atoms_per_layer), _mean(recipe.n_target_atoms_per_layer)]
    return [
        *first,
        " → ".join(atoms),
        view.rate("transfer"),
        percent(run.success),
        view.rate("early_layers_only"),
        after.get(view.about.words.recovered_key),
        after.get("capability/benign_exact_match"),
        In(after.get("kl_first_token/mean"), None),
        known.get("eligible_mass"),
        known.get("agreement"),
        known.get("stability_target_cosine"),
        None if run.forecast is None else "passes" if run.forecast.passed else "rejects",
    ]


def _mean(counts: Sequence[float]) -> str:
    return f"{sum(counts) / len(counts):.0f}" if counts else MISSING


def calibration_table(runs: Iterable[LimitRun]) -> Table:
    """How right each figure of the forecast was over these runs."""
    judged = [(run, success) for run in runs if (success := run.success) is not None]
    names = list(dict.fromkeys(name for run, _ in judged for name in run.figures))
    rows = [row for name in names if (row := _judge_figure(name, judged)) is not None]
    known = [(run.forecast.passed, success) for run, success in judged if run.forecast]
    if known:
        errors = forecast_errors([not p for p, _ in known], [s for _, s in known], least=_FAILED)
        rows.append(["the forecast", len(known), None, None, "all", *_errors(errors)])
    n_pairs = len({run.pair for run, _ in judged})
    head = [Column("figure"), Column("runs"), Column("Spearman", spec="+.2f")]
    head += [Column(f"out of pair ({n_pairs} pairs)", spec="+.2f")]
    return Table("", [*head, *columns("bound", "false rejections", "missed failures")], rows)


def _judge_figure(name: str, runs: Sequence[tuple[LimitRun, float]]) -> Row | None:
    known = [(v, run, s) for run, s in runs if (v := run.figures.get(name)) is not None]
    if not known:
        return None
    values, success = [v for v, _, _ in known], [s for _, _, s in known]
    bound: list[Cell] = [None] * 3
    if name in _BOUNDS:
        rejected = [value < run.bounds[name] for value, run, _ in known]
        least = sorted({run.bounds[name] for _, run, _ in known})
        errors = forecast_errors(rejected, success, least=_FAILED)
        bound = [", ".join(f"{b:g}" for b in least), *_errors(errors)]
    other = out_of_pair(values, success, [run.pair for _, run, _ in known])
    return [name, len(known), spearman(values, success), other, *bound]


def _errors(errors: Errors) -> list[str]:
    return [
        f"{errors.false_rejections} of {errors.n_good}",
        f"{errors.missed_failures} of {errors.n_bad}",
    ]


def write_limits(folder: Path, more: Sequence[Path] = ()) -> Path:
    """Writes `limits.md` and a figure per axis as SVG and PNG under `figures/`.

    Args:
        folder: As `read_limits` takes it.
        more: Of other pairs, that the forecast is judged on too: run folders, or folders as
            `read_limits` takes them.

    Returns:
        The path of `limits.md`.

    Raises:
        ArtifactError: if there is no run, or a file of one is corrupt.
    """
    from conceptbasis.report.figures.limits import axis_figure
    from conceptbasis.report.figures.theme import render

    base, axes = read_limits(folder)
    parts = ["# Limits\n", markdown(limits_table(_all_runs(base, axes)))]
    for axis, runs in axes.items():
        figure = axis_figure(axis, runs, base)
        if figure is not None:
            drawn = render(figure.chart)
            write_text(folder / "figures" / f"{figure.name}.svg", drawn.svg)
            write_bytes(folder / "figures" / f"{figure.name}.png", drawn.png)
            parts.append(
                f"## {figure.title}\n\n![{figure.alternative}](figures/{figure.name}.svg)\n"
            )
            parts.append(f"{figure.caption}\n")
    runs = _with_others(_all_runs(base, axes), more)
    parts += ["## Was the forecast right?\n", markdown(calibration_table(runs)), _EXPLAINED]
    path = folder / "limits.md"
    write_text(path, "\n".join(parts))
    return path


def logged_limits(folder: Path, more: Sequence[Path] = ()) -> dict[str, Table]:
    """The tables of `limits.md` as they are logged, with figures as texts.

    Args:
        folder: As `read_limits` takes it.
        more: As `write_limits` takes it.
    """
    runs = _all_runs(*read_limits(folder))
    found = {"limits": limits_table(runs)}
    found["forecast_errors"] = calibration_table(_with_others(runs, more))
    return {
        name: replace(table, body=[table.texts(row) for row in table.rows])
        for name, table in found.items()
    }


def _with_others(runs: list[LimitRun], more: Sequence[Path]) -> list[LimitRun]:
    found = [*runs]
    for path in more:
        found += [read_run(path, "", path.name)] if _is_run(path) else _all_runs(*read_limits(path))
    return found


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG).exists() or (folder / SUMMARY).exists()


def _all_runs(base: LimitRun | None, axes: Mapping[str, Sequence[LimitRun]]) -> list[LimitRun]:
    return [*([base] if base else []), *(run for axis in axes.values() for run in axis)]


_EXPLAINED = (
    "Success is the fall of the rate as a share of the fall under the target's own direction; a "
    "run below 0.5 has failed. A false rejection is a run that worked and lay below the bound. A "
    "missed failure is a run that failed and did not lie below it. Out of pair: success predicted "
    "by a monotone fit to the runs of the other pairs. Runs without a transfer are not counted.\n"
)
