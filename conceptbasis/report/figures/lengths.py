"""The behavior's rate over the length of the answer, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from conceptbasis.behaviors.base import Words
from conceptbasis.report.figures.theme import BLUE, INK, VERMILION, WIDTH, Figure
from conceptbasis.report.table import format_interval
from conceptbasis.results.evaluation import LengthRates

_COLOURS = (INK, VERMILION, BLUE)
_SHAPES = ("circle", "square", "triangle-up")


def lengths_figure(rows: Sequence[LengthRates], words: Words) -> Figure | None:
    """The rate at each length of the answer by condition; None where it was not measured."""
    points = [
        {"condition": row.condition, "tokens": n, "rate": i.value, "low": i.low, "high": i.high}
        for row in rows
        for n, rate in zip(row.n_tokens, row.rates, strict=True)
        if (i := rate.interval) is not None
    ]
    if not points:
        return None
    names = [row.condition for row in rows]
    legend = alt.Legend(title=None, orient="bottom")
    colour = alt.Scale(domain=names, range=[*_COLOURS[: len(names)]])
    shape = alt.Scale(domain=names, range=[*_SHAPES[: len(names)]])
    axis = alt.Axis(values=sorted({n for row in rows for n in row.n_tokens}), format="d")
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X("tokens:Q", title="answer tokens", axis=axis),
        color=alt.Color("condition:N", scale=colour, legend=legend),
    )
    y = alt.Y("rate:Q", title=f"{words.noun} rate", scale=alt.Scale(domain=[0, 1]))
    lines = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45)).encode(
        y=y, shape=alt.Shape("condition:N", scale=shape, legend=legend)
    )
    whiskers = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q")
    return Figure(
        "lengths",
        f"{words.noun.capitalize()} over the length of the answer",
        f"Share of {words.positive} prompts at which the first so many tokens of the answer show "
        "the behavior, with 95 % intervals: prefixes of one generation. A line that rises says "
        "that an edit only puts it off.",
        " ".join(_in_words(row) for row in rows),
        (whiskers + lines).properties(width=WIDTH, height=200),
    )


def _in_words(row: LengthRates) -> str:
    pairs = zip(row.n_tokens, row.rates, strict=True)
    shown = ", ".join(f"{n} tokens {format_interval(rate.interval)}" for n, rate in pairs)
    return f"{row.condition}: {shown}."
