"""Where transfers end: runs of one pair with one thing varied, and what the forecast had said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conceptbasis.core.statistics.calibration import Errors, forecast_errors, out_of_pair, spearman
from conceptbasis.errors import ArtifactError
from conceptbasis.evaluation.metrics import MISSING, figures_of, format_interval, format_number
from conceptbasis.report.overview_table import share_of_native
from conceptbasis.runs.files import CONFIG, SUMMARY_KEYS, read_json, write_bytes, write_text
from conceptbasis.runs.stage import RESULT

BASE, NOTHING = "base", "no_transfer"
"""Names of the run with all defaults, and of the file that marks a value without a transfer."""
_FAILED = 0.5
"""A transfer that brings less than this share of native's reduction has failed."""
_BOUNDS = {name: f"min_{name}" for name in ("eligible_mass", "agreement")}
_BOUNDS["decline_effect"] = "min_neighbour_effect"
"""Figures of the forecast that decide, with the keys of their bounds."""
_HEAD: tuple[str, ...] = ("axis", "value", "atoms", "refusal", "share of native", "early")
_HEAD += ("compliance", "benign", "first-token KL", "eligible mass", "agreement")
_HEAD += ("same recipe", "forecast")


@dataclass(frozen=True)
class LimitRun:
    """One run of an axis.

    Args:
        axis: What is varied.
        value: To what.
        summary: Its summary, None where nothing was left to transfer or the run did not finish.
        forecast: The result of its stage `forecast`.
        bounds: The forecast's bounds, by key.
        finished: Whether it came to an end, with or without a transfer.
    """

    axis: str
    value: str
    summary: Mapping[str, Any] | None
    forecast: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, float] = field(default_factory=dict)
    finished: bool = True

    @property
    def success(self) -> float | None:
        """The fall of refusal as a share of native's; None where nothing was evaluated."""
        if self.summary is None or not self.summary["conditions"]:
            return None
        single = figures_of(self.summary, "native")
        native = single if single.get("refusal") else figures_of(self.summary, "native_trajectory")
        before, after = (figures_of(self.summary, n) for n in ("baseline", "transfer"))
        return share_of_native(before, after, native)

    @property
    def pair(self) -> str:
        """Both models, whatever their SAEs."""
        assert self.summary is not None
        return " ".join(str(self.summary[side].get("model")) for side in ("donor", "target"))

    @property
    def figures(self) -> dict[str, float | None]:
        """Everything that was known before the edit, by name."""
        assert self.summary is not None
        known = self.summary.get("forecast") or {}
        found = {name: entry and entry["value"] for name, entry in known.items()}
        if found.get("svcca") is not None and found.get("svcca_null") is not None:
            found["svcca_over_null"] = found["svcca"] - found["svcca_null"]
        found["covered_share"] = self.forecast.get("covered_share")
        stability = self.summary["recipe"].get("stability") or {}
        for key in ("target_cosine", "donor_jaccard"):
            found[f"stability_{key}"] = stability.get(key) and stability[key]["mean"]
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
    base = read_run(folder / BASE, "", BASE) if (folder / BASE / "summary.json").exists() else None
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
    path = folder / "summary.json"
    if not path.exists():
        return LimitRun(axis, value, None, finished=(folder / NOTHING).exists())
    forecast = folder / "forecast" / RESULT
    return LimitRun(
        axis,
        value,
        read_json(path, SUMMARY_KEYS),
        read_json(forecast) if forecast.exists() else {},
        _bounds(folder / CONFIG),
    )


def _bounds(path: Path) -> dict[str, float]:
    """The bounds that a run's forecast had."""
    from conceptbasis.config.base import load_yaml
    from conceptbasis.config.transfer import ForecastSection

    run = (load_yaml(path) if path.exists() else {}).get("run") or {}
    found = ForecastSection().model_dump() | (run.get("forecast") or {})
    return {name: found[key] for name, key in _BOUNDS.items()}


def limits_table(base: LimitRun | None, axes: Mapping[str, Sequence[LimitRun]]) -> str:
    """All runs as one table in Markdown."""
    runs = _all_runs(base, axes)
    return _markdown(_HEAD, [_row(run) for run in runs])


def _row(run: LimitRun) -> list[str]:
    first = [run.axis or MISSING, run.value]
    if run.summary is None or not run.summary["conditions"]:
        return [
            *first,
            "no transfer" if run.finished else "not finished",
            *[MISSING] * (len(_HEAD) - 3),
        ]
    after, early = (figures_of(run.summary, name) for name in ("transfer", "early_layers_only"))
    known, share = run.figures, run.success
    atoms = [_mean(run.summary["recipe"][f"n_{side}atoms_per_layer"]) for side in ("", "target_")]
    passed = run.forecast.get("passed")
    return [
        *first,
        " → ".join(atoms),
        format_interval(after.get("refusal")),
        MISSING if share is None else f"{share:.0%}",
        format_interval(early.get("refusal")),
        format_interval(after.get("recovered_compliance")),
        format_interval(after.get("capability/benign_exact_match")),
        format_interval(after.get("kl_first_token/mean"), None),
        *(
            format_number(known.get(name))
            for name in ("eligible_mass", "agreement", "stability_target_cosine")
        ),
        {True: "passes", False: "declines"}.get(passed, MISSING),  # type: ignore[arg-type]
    ]


def _mean(counts: Sequence[float]) -> str:
    return f"{sum(counts) / len(counts):.0f}" if counts else MISSING


def calibration_table(runs: Iterable[LimitRun]) -> str:
    """How right each figure of the forecast was over these runs, as a table in Markdown."""
    judged = [run for run in runs if run.success is not None]
    names = list(dict.fromkeys(name for run in judged for name in run.figures))
    rows = [row for name in names if (row := _judge_figure(name, judged)) is not None]
    known = [run for run in judged if run.forecast.get("passed") is not None]
    if known:
        declined = [not run.forecast["passed"] for run in known]
        errors = forecast_errors(declined, [_success(run) for run in known], least=_FAILED)
        rows.append(["the forecast", str(len(known)), MISSING, MISSING, "all", *_errors(errors)])
    n_pairs = len({run.pair for run in judged})
    head = ("figure", "runs", "Spearman", f"out of pair ({n_pairs} pairs)", "bound")
    return _markdown((*head, "false declines", "missed failures"), rows)


def _success(run: LimitRun) -> float:
    assert run.success is not None
    return run.success


def _judge_figure(name: str, runs: Sequence[LimitRun]) -> list[str] | None:
    known = [(value, run) for run in runs if (value := run.figures.get(name)) is not None]
    if not known:
        return None
    values, success = [v for v, _ in known], [_success(run) for _, run in known]
    bound = [MISSING] * 3
    if name in _BOUNDS:
        declined = [value < run.bounds[name] for value, run in known]
        least = sorted({run.bounds[name] for _, run in known})
        bound = [", ".join(f"{b:g}" for b in least)]
        bound += _errors(forecast_errors(declined, success, least=_FAILED))
    other = out_of_pair(values, success, [run.pair for _, run in known])
    return [
        name,
        str(len(known)),
        _signed(spearman(values, success)),
        _signed(other),
        *bound,
    ]


def _errors(errors: Errors) -> list[str]:
    return [
        f"{errors.false_rejections} of {errors.n_good}",
        f"{errors.missed_failures} of {errors.n_bad}",
    ]


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


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
    parts = ["# Limits\n", limits_table(base, axes)]
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
    runs = _all_runs(base, axes)
    for path in more:
        runs += [read_run(path, "", path.name)] if _is_run(path) else _all_runs(*read_limits(path))
    parts += ["## Was the forecast right?\n", calibration_table(runs), _EXPLAINED]
    path = folder / "limits.md"
    write_text(path, "\n".join(parts))
    return path


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG).exists() or (folder / "summary.json").exists()


def _all_runs(base: LimitRun | None, axes: Mapping[str, Sequence[LimitRun]]) -> list[LimitRun]:
    return [*([base] if base else []), *(run for axis in axes.values() for run in axis)]


_EXPLAINED = (
    "Success is the fall of refusal as a share of the fall under the target's own direction; below "
    "0.5 a run has failed. A false decline is a run that worked and lay below the bound, a missed "
    "failure one that failed and did not. Out of pair: success predicted by a monotone fit to the "
    "runs of the other pairs. Runs without a transfer are in no count of this table.\n"
)
