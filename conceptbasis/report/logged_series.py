"""Series that are logged of a run, over layers, answer tokens, damage and strength.

They are numbers that wandb draws as lines, so that several runs stand in one panel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from conceptbasis.behaviors.base import Behavior, Words
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded
from conceptbasis.results.evaluation import Curve, Evaluation, LengthRates
from conceptbasis.results.matching import Alignment
from conceptbasis.results.recipe import RecipeSet, Transfer


class Series(NamedTuple):
    """Figures over an axis, by their place on it."""

    axis: str
    rows: Mapping[float, Mapping[str, float]]


def logged_series(run: RunFolder, stage: str, behavior: Behavior) -> list[Series]:
    """Series of a finished stage; the axes are those of `conceptbasis.tracking.lifecycle`."""
    words = behavior.words
    found = [Series("layer", _layer_series(run, stage))]
    if stage == "evaluate":
        evaluation = run.read("evaluate", Evaluation)
        rates = evaluation.by_length if evaluation else ()
        found.append(Series("answer_tokens", _length_series(rates, words)))
    if stage == "curve":
        curve = run.read("curve", Curve)
        found.append(Series("first_token_kl", _curve_series(curve, words)))
        found.append(Series("strength", _strength_series(curve)))
    return [series for series in found if series.rows]


def with_bounds(key: str, figure: Interval | None) -> dict[str, float]:
    """A figure and the ends of its interval by the names they are logged by; empty for None."""
    if figure is None:
        return {}
    return {key: figure.value, f"{key}/low": figure.low, f"{key}/high": figure.high}


def _length_series(rows: Sequence[LengthRates], words: Words) -> dict[float, dict[str, float]]:
    series: dict[float, dict[str, float]] = defaultdict(dict)
    for row in rows:
        for n, rate in zip(row.n_tokens, row.rates, strict=True):
            series[n] |= with_bounds(f"lengths/{row.condition}/{words.rate_key}", rate.interval)
    return _not_empty(series)


def _curve_series(curve: Curve | None, words: Words) -> dict[float, dict[str, float]]:
    series: dict[float, dict[str, float]] = defaultdict(dict)
    for row in curve.methods if curve else ():
        for point in row.points:
            if point.measure == "kl":
                interval = point.figures.rate.interval
                series[point.level] |= with_bounds(f"curve/{row.method}/{words.rate_key}", interval)
    return _not_empty(series)


def _strength_series(curve: Curve | None) -> dict[float, dict[str, float]]:
    series: dict[float, dict[str, float]] = defaultdict(dict)
    for row in curve.methods if curve else ():
        for name in ("kl", "perplexity_rise"):
            values = getattr(row.calibration, name)
            for strength, value in zip(row.calibration.strength, values, strict=True):
                series[strength][f"strengths/{row.method}/{name}"] = value
    return _not_empty(series)


def _not_empty(series: Mapping[float, dict[str, float]]) -> dict[float, dict[str, float]]:
    return {place: figures for place, figures in series.items() if figures}


def _layer_series(run: RunFolder, stage: str) -> dict[float, dict[str, float]]:
    """Per-layer figures of a stage by layer; donor and target layers share the axis."""
    of_stage: dict[str, Callable[[RunFolder], Iterator[_Point]]] = {
        "direction": _direction_points,
        "fit": _fit_points,
        "align": _align_points,
        "transfer": _transfer_points,
        "guard": _guard_points,
    }
    series: dict[float, dict[str, float]] = defaultdict(dict)
    for layer, name, value in of_stage[stage](run) if stage in of_stage else ():
        if value is not None:
            series[layer][f"layers/{name}"] = value
    return dict(series)


_Point: TypeAlias = "tuple[int, str, float | None]"


def _direction_points(run: RunFolder) -> Iterator[_Point]:
    direction = run.read("direction", DonorDirection)
    for layer, norm in enumerate(direction.norms if direction else ()):
        yield layer, "donor/norm", norm
    for layer, accuracy in enumerate(direction.probe_accuracy if direction else ()):
        yield layer, "donor/probe_accuracy", accuracy


def _fit_points(run: RunFolder) -> Iterator[_Point]:
    recipes = run.read("fit", RecipeSet)
    for fit in recipes.layers if recipes else ():
        yield fit.target, "target/donor_cosine", fit.donor_cosine
        yield fit.target, "target/eligible_mass", fit.eligible_mass.value


def _align_points(run: RunFolder) -> Iterator[_Point]:
    align = run.read("align", Alignment)
    if align is not None:
        for target, donor in align.layer_map:
            yield target, "target/svcca", align.score[target][donor]
            yield target, "target/svcca_null", align.null[target][donor]


def _transfer_points(run: RunFolder) -> Iterator[_Point]:
    transfer = run.read("transfer", Transfer)
    for row in transfer.layers if transfer else ():
        yield row.target, "target/agreement", row.agreement
        yield row.target, "target/ridge", row.ridge


def _guard_points(run: RunFolder) -> Iterator[_Point]:
    guard = run.read("guard", Guarded)
    for guarded in guard.layers if guard else ():
        yield guarded.target, "target/guard_overlap", guarded.overlap_energy
