"""The behavior against damage: one line per method, each at strengths that do equal damage."""

from __future__ import annotations

from typing import Any

import altair as alt

from conceptbasis.behaviors.base import Words
from conceptbasis.methods import METHODS
from conceptbasis.methods.base import Role
from conceptbasis.report.figures.theme import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    Figure,
)
from conceptbasis.report.table import format_interval
from conceptbasis.results.evaluation import Curve, CurvePoint, MethodCurve

_LOOK: dict[Role, str] = {
    "untouched": INK,
    "native": INK,
    "transfer": VERMILION,
    "control": MUTED,
}
_OTHERS = (BLUE, GREEN, ORANGE, SKY, PURPLE)
_DASHES: tuple[list[int], ...] = ([], [6, 3], [2, 2])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def curve_figure(curve: Curve | None, words: Words) -> Figure | None:
    """The behavior's rate at each level of benign KL by method; None where not measured."""
    if curve is None or not curve.methods:
        return None
    start = curve.untouched.rate.interval
    first = [] if start is None else [{"level": 0.0, "rate": start.value}]
    points = [
        {"method": row.method, "level": p.level, "rate": r.value, "low": r.low, "high": r.high}
        for row in curve.methods
        for p in _levels(row)
        if (r := p.figures.rate.interval) is not None
    ]
    lines = [{"method": row.method, **point} for row in curve.methods for point in first] + points
    x = alt.X(
        "level:Q",
        title="first-token KL on benign text, nats (square-root scale)",
        scale=alt.Scale(type="sqrt"),
        axis=alt.Axis(values=[0, *curve.kl_levels], format=".2~g"),
    )
    look = _look([row.method for row in curve.methods])
    base = alt.Chart(alt.Data(values=lines)).encode(x=x, **look)
    title = f"{words.noun} on {words.positive} prompts"
    y = alt.Y("rate:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    drawn = base.encode(y=y).mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45))
    bars = alt.Chart(alt.Data(values=points)).encode(x=x, color=look["color"])
    whiskers = bars.mark_rule(opacity=0.35).encode(y=alt.Y("low:Q"), y2="high:Q")
    return Figure(
        "curve",
        f"{words.noun.capitalize()} against damage",
        "Every method at the strengths at which it does the same damage to benign requests, with "
        "95 % intervals. Strengths are found on benign text alone. A method that reaches a low "
        f"rate further to the left does so at less damage. {_half(curve, words.noun)}",
        " ".join(_in_words(row) for row in curve.methods),
        (whiskers + drawn).properties(width=WIDTH, height=260),
    )


def _levels(row: MethodCurve) -> list[CurvePoint]:
    return [p for p in row.points if p.measure == "kl"]


def _look(names: list[str]) -> dict[str, Any]:
    """Colour by kind of method; dash and shape tell those of one colour apart."""
    colours, dashes, shapes = [], [], []
    for i, name in enumerate(names):
        fixed = _LOOK.get(METHODS[name].role) if name in METHODS else None
        colours.append(fixed or _OTHERS[i % len(_OTHERS)])
        dashes.append(_DASHES[0] if name == "transfer" else _DASHES[i % len(_DASHES)])
        shapes.append(_SHAPES[i % len(_SHAPES)])
    legend = alt.Legend(title=None, orient="bottom", columns=3, symbolSize=90, symbolOpacity=1)

    def scale(values: list[Any]) -> alt.Scale:
        return alt.Scale(domain=names, range=values)

    return {
        "color": alt.Color("method:N", scale=scale(colours), legend=legend),
        "strokeDash": alt.StrokeDash("method:N", scale=scale(dashes), legend=legend),
        "shape": alt.Shape("method:N", scale=scale(shapes), legend=legend),
    }


def _half(curve: Curve, noun: str) -> str:
    kl = curve.native_half_kl
    if kl is None:
        return f"The native direction does not reach half of the untouched {noun} here."
    return f"The native direction reaches half of the untouched {noun} at {kl:.3g} nats."


def _in_words(row: MethodCurve) -> str:
    points = ", ".join(
        f"{p.level:g} nats {format_interval(p.figures.rate.interval)}" for p in _levels(row)
    )
    return f"{row.method}: {points}; area {format_interval(row.area)}."
