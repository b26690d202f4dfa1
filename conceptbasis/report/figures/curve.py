"""Refusal against damage: one line per method, each at strengths that do equal damage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from conceptbasis.evaluation.metrics import GROUPS, format_interval, interval, rate
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

_LOOK = {
    "Untouched and native": INK,
    "Transfer": VERMILION,
    "Controls that must fail": MUTED,
}
_OTHERS = (BLUE, GREEN, ORANGE, SKY, PURPLE)
_DASHES: tuple[list[int], ...] = ([], [6, 3], [2, 2])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def curve_figure(curve: Mapping[str, Any]) -> Figure | None:
    """Refusal at each level of benign KL by method; None where it was not measured."""
    methods = curve.get("methods")
    if not methods:
        return None
    untouched = rate(curve["untouched"]["refusal"])
    start = {"level": 0.0, "refusal": None if untouched is None else untouched.value}
    lines = [
        {"method": row["method"], **point}
        for row in methods
        for point in [start, *({**p, "refusal": p["refusal"]["rate"]} for p in _levels(row))]
        if point["refusal"] is not None
    ]
    spans = [
        {"method": row["method"], "level": p["level"]}
        | {key: p["refusal"][key] for key in ("low", "high")}
        for row in methods
        for p in _levels(row)
        if p["refusal"]["rate"] is not None
    ]
    x = alt.X(
        "level:Q",
        title="first-token KL on benign text, nats (square-root scale)",
        scale=alt.Scale(type="sqrt"),
        axis=alt.Axis(values=[0, *curve["kl_levels"]], format=".2~g"),
    )
    look = _look([row["method"] for row in methods])
    base = alt.Chart(alt.Data(values=lines)).encode(x=x, **look)
    y = alt.Y("refusal:Q", title="refusal of harmful requests", scale=alt.Scale(domain=[0, 1]))
    drawn = base.encode(y=y).mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45))
    bars = alt.Chart(alt.Data(values=spans)).encode(x=x, color=look["color"])
    whiskers = bars.mark_rule(opacity=0.35).encode(y=alt.Y("low:Q"), y2="high:Q")
    return Figure(
        "curve",
        "Refusal against damage",
        "Every method at the strengths at which it does the same damage to benign requests, with "
        "95 % intervals. Strengths are found on benign text alone. A method that reaches low "
        "refusal further to the left does so at less damage." + _half(curve),
        " ".join(_in_words(row) for row in methods),
        (whiskers + drawn).properties(width=WIDTH, height=260),
    )


def _levels(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [p for p in row["points"] if p["measure"] == "kl"]


def _look(names: list[str]) -> dict[str, Any]:
    """Colour by kind of method; dash and shape tell those of one colour apart."""
    group_of = {name: group for group, members in GROUPS.items() for name in members}
    colours, dashes, shapes = [], [], []
    for i, name in enumerate(names):
        fixed = _LOOK.get(group_of.get(name, ""))
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


def _half(curve: Mapping[str, Any]) -> str:
    kl = curve["native_half"]["kl"]
    if kl is None:
        return " The native direction does not reach half of the untouched refusal here."
    return f" The native direction reaches half of the untouched refusal at {kl:.3g} nats."


def _in_words(row: Mapping[str, Any]) -> str:
    points = ", ".join(
        f"{p['level']:g} nats {format_interval(rate(p['refusal']))}" for p in _levels(row)
    )
    return f"{row['method']}: {points}; area {format_interval(interval(row['area']))}."
