"""Figures that compare conditions: refusal and capability as dots with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from conceptbasis.evaluation.metrics import (
    condition_figures,
    figures_of,
    format_interval,
    grouped,
    metrics_of,
)
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

_COLOURS = (BLUE, VERMILION, PURPLE, GREEN, ORANGE, SKY)
_SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "circle")
_SHARES = alt.Scale(domain=[0, 1], nice=False)
_AXIS_WIDTH = 150  # the same for every group, so that the dots of all groups share one scale


def _points(summary: Mapping[str, Any], key: str, group: list[Any]) -> list[dict[str, Any]]:
    points = []
    for condition in group:
        figure = condition_figures(condition).get(key)
        draws = condition.get("draws") or 1
        if figure is not None:
            points.append(
                {
                    "condition": condition["name"] + (f" ×{draws}" if draws > 1 else ""),
                    "value": figure.value,
                    "low": figure.value if figure.low is None else figure.low,
                    "high": figure.value if figure.high is None else figure.high,
                }
            )
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


def _grouped_dots(summary: Mapping[str, Any], key: str, label: str) -> Any:
    baseline = figures_of(summary, "baseline").get(key)
    rows = []
    groups = grouped(summary["conditions"])
    kept = [(i, g, p) for i, (g, m) in enumerate(groups) if (p := _points(summary, key, m))]
    for position, (look, group, points) in enumerate(kept):
        last = position == len(kept) - 1
        axis = alt.Axis(title=label if last else None, labels=last, ticks=last, tickCount=5)
        x = alt.X("value:Q", axis=axis, scale=_SHARES)
        row = _dots(points, look, x, group)
        rows.append(row if baseline is None else alt.layer(_reference(baseline.value), row))
    return alt.vconcat(*rows, spacing=8) if rows else None


def refusal_figure(summary: Mapping[str, Any]) -> Figure | None:
    """Refusal on harmful requests under every condition, grouped; None without conditions."""
    chart = _grouped_dots(summary, "refusal", "refusal rate on harmful requests")
    if chart is None:
        return None
    return Figure(
        "refusal",
        "Refusal under every condition",
        f"Share of refused harmful requests (judge: {summary['primary_judge']}) with 95 % "
        "intervals. The dashed line is the untouched target. A transfer that works stands "
        "where the native direction stands; the controls must stay at the line.",
        _in_words(summary, "refusal"),
        chart,
    )


def capability_figure(summary: Mapping[str, Any]) -> Figure | None:
    """Capability tasks under every condition; None if no task was measured."""
    charts, words = [], []
    for metric in metrics_of([summary]):
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
        "Exact match on harmless tasks with 95 % intervals; the dashed line is the untouched "
        "target. An intervention should leave every dot on the line.",
        " ".join(words),
        alt.vconcat(*charts, spacing=24),
    )


def _in_words(summary: Mapping[str, Any], key: str) -> str:
    parts = []
    for group, members in grouped(summary["conditions"]):
        shown = [f"{c['name']} {format_interval(condition_figures(c).get(key))}" for c in members]
        parts.append(f"{group}: {', '.join(shown)}.")
    return " ".join(parts)
