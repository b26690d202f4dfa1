"""Figures that compare conditions: the behavior and capability as dots with intervals."""

from __future__ import annotations

from typing import Any

import altair as alt

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.evaluation.metrics import RunView, metrics_of, value_of, view_of
from conceptbasis.report.beside_verdict import control_sentences
from conceptbasis.report.figures.theme import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    Figure,
)
from conceptbasis.report.run_tables import in_groups, name_with_draws
from conceptbasis.report.table import format_interval
from conceptbasis.results.conditions import Condition
from conceptbasis.results.summary import Summary

_COLOURS = (BLUE, VERMILION, PURPLE, GREEN, ORANGE, SKY)
_SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "circle")
_SHARES = alt.Scale(domain=[0, 1], nice=False)
_AXIS_WIDTH = 150  # the same for every group, so that the dots of all groups share one scale


def _points(run: RunView, key: str, group: list[Condition]) -> list[dict[str, Any]]:
    points = []
    for condition in group:
        figure = run.of(condition.name).get(key)
        if figure is not None:
            low, high = (figure.low, figure.high) if isinstance(figure, Interval) else [figure] * 2
            point = {"condition": name_with_draws(condition), "value": value_of(figure)}
            points.append(point | {"low": low, "high": high})
    return points


def _dots(points: list[dict[str, Any]], look: int, x: alt.X, title: str) -> Any:
    labels = alt.Axis(
        title=None, minExtent=_AXIS_WIDTH, maxExtent=_AXIS_WIDTH, ticks=False, labelPadding=8
    )
    order = [point["condition"] for point in points]
    base = alt.Chart(alt.Data(values=points)).encode(
        y=alt.Y("condition:N", sort=order, axis=labels),
        x=x,
    )
    colour, shape = _COLOURS[look], _SHAPES[look]
    spans = base.mark_rule(color=colour, strokeWidth=2).encode(
        x=alt.X("low:Q", scale=_SHARES), x2="high:Q"
    )
    dots = base.mark_point(color=colour, fill=colour, shape=shape, size=70, opacity=1)
    return (spans + dots).properties(
        width=WIDTH,
        height=alt.Step(20),
        title=alt.TitleParams(title, anchor="start", frame="bounds", fontSize=12),
    )


def _reference(value: float) -> Any:
    rule = alt.Chart(alt.Data(values=[{"at": value}]))
    return rule.mark_rule(color=MUTED, strokeDash=[4, 3], strokeWidth=1.5).encode(x="at:Q")


def _grouped_dots(summary: Summary, key: str, label: str) -> Any:
    run = view_of(summary)
    baseline = run.of("baseline").get(key)
    rows = []
    kept = [
        (look, group, points)
        for look, (group, members) in enumerate(in_groups(summary))
        if (points := _points(run, key, members))
    ]
    for position, (look, group, points) in enumerate(kept):
        last = position == len(kept) - 1
        axis = alt.Axis(title=label if last else None, labels=last, ticks=last, tickCount=5)
        x = alt.X("value:Q", axis=axis, scale=_SHARES)
        row = _dots(points, look, x, group)
        rows.append(row if baseline is None else alt.layer(_reference(value_of(baseline)), row))
    return alt.vconcat(*rows, spacing=8) if rows else None


def rate_figure(summary: Summary) -> Figure | None:
    """The behavior's rate on positive prompts under every condition, grouped; None without any."""
    words = view_of(summary).about.words
    chart = _grouped_dots(summary, words.rate_key, f"{words.noun} rate on {words.positive} prompts")
    if chart is None:
        return None
    return Figure(
        "rate",
        f"{words.noun.capitalize()} under every condition",
        f"Share of {words.positive} prompts at which the target {words.shows} (judge: "
        f"{summary.primary_judge}) with 95 % intervals. The dashed line is the untouched target. "
        "A transfer that works stands where the native direction stands. "
        + " ".join(control_sentences(summary)),
        _in_words(summary, words.rate_key),
        chart,
    )


def capability_figure(summary: Summary) -> Figure | None:
    """Capability tasks under every condition; None if no task was measured."""
    charts, words = [], []
    for metric in metrics_of([view_of(summary)]):
        if not metric.key.startswith("capability/"):
            continue
        chart = _grouped_dots(summary, metric.key, metric.label)
        if chart is None:
            continue
        charts.append(chart)
        words.append(f"{metric.label}: {_in_words(summary, metric.key)}")
    if not charts:
        return None
    return Figure(
        "capability",
        "Capability under every condition",
        "Exact match on benign tasks with 95 % intervals; the dashed line is the untouched "
        "target. An intervention should leave every dot on the line.",
        " ".join(words),
        alt.vconcat(*charts, spacing=24),
    )


def _in_words(summary: Summary, key: str) -> str:
    run, parts = view_of(summary), []
    for group, members in in_groups(summary):
        shown = [f"{c.name} {format_interval(run.of(c.name).get(key))}" for c in members]
        parts.append(f"{group}: {', '.join(shown)}.")
    return " ".join(parts)
