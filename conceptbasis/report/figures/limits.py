"""One figure per axis of the limits: rate, what is recovered and damage against the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from conceptbasis.behaviors.base import Words
from conceptbasis.core.statistics.interval import Figure as Value
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.evaluation.metrics import value_of
from conceptbasis.methods.layers import EARLY_LAYERS_ONLY
from conceptbasis.methods.native import NATIVE
from conceptbasis.methods.routes import TRANSFER
from conceptbasis.report.figures.theme import BLUE, INK, MUTED, VERMILION, WIDTH, Figure
from conceptbasis.report.limits import LimitRun
from conceptbasis.report.table import format_interval

_AXES = {
    "classes": ("Without a class of text", "class that is left out"),
    "atoms": ("Number of atoms", "atoms on either side"),
    "text": ("Amount of transfer text", "texts"),
    "width": ("Width of the SAEs", "latents"),
    "k": ("Active latents of the SAEs", "active latents per site"),
    "seed": ("Seeds of the SAEs", "seed"),
    "early": ("Early layers only", "layers below this share of the depth"),
    "guard": ("Forced guard", "guarded share of the width"),
    "matching": ("How latents are matched", "rule"),
    "ceiling": ("A model with itself", "model, SAEs of two seeds"),
}
_SHOWN = {TRANSFER.name: VERMILION, EARLY_LAYERS_ONLY.name: BLUE, NATIVE.name: INK}
_HEIGHT = 120


def axis_figure(axis: str, runs: Sequence[LimitRun], base: LimitRun | None) -> Figure | None:
    """The figure of one axis; None where no run of it was evaluated.

    Args:
        axis: Name of the folder of the runs.
        runs: In the order of their values.
        base: The run with all defaults, drawn as a dashed line.
    """
    views = [(run, view) for run in runs if (view := run.view) is not None]
    if not views:
        return None
    shown = _panels(views[0][1].about.words)
    points = [
        {"value": run.value, "condition": name, "panel": key, **_span(figure)}
        for run, view in views
        for name in _SHOWN
        for key in shown
        if (figure := view.of(name).get(key)) is not None
    ]
    title, label = _AXES.get(axis, (axis, axis))
    order = [run.value for run in runs]
    panels = [
        _panel(points, base, key, order, shown[key], label if key == [*shown][-1] else None)
        for key in shown
    ]
    missing = [run.value for run in runs if run.success is None and run.finished]
    return Figure(
        f"limits-{axis}",
        title,
        "The transfer, the same edit below the bound of early layers only, and the target's own "
        "direction, with 95 % intervals over prompts; dashed: the transfer with all defaults."
        + (f" Nothing was left to transfer at {', '.join(missing)}." if missing else ""),
        " ".join(_in_words(run, shown) for run in runs),
        alt.vconcat(*panels, spacing=12),
    )


def _panels(words: Words) -> dict[str, tuple[str, list[int] | None]]:
    """Label and domain of what is drawn, by metric."""
    return {
        words.rate_key: (words.noun, [0, 1]),
        words.recovered_key: (words.recovered, [0, 1]),
        "kl_first_token/mean": ("benign KL, nats", None),
    }


def _span(figure: Value) -> dict[str, float]:
    low, high = (figure.low, figure.high) if isinstance(figure, Interval) else (figure, figure)
    return {"mid": value_of(figure), "low": low, "high": high}


def _panel(
    points: Sequence[Mapping[str, Any]],
    base: LimitRun | None,
    key: str,
    order: list[str],
    shown: tuple[str, list[int] | None],
    label: str | None,
) -> Any:
    name, domain = shown
    own = [dict(point) for point in points if point["panel"] == key]
    scale = alt.Scale(domain=domain) if domain else alt.Scale(zero=True)
    names = list(_SHOWN)
    legend = alt.Legend(title=None, orient="bottom")
    x = alt.X(
        "value:N",
        sort=order,
        title=label,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labels=label is not None, ticks=label is not None, labelAngle=0),
    )
    colours = alt.Scale(domain=names, range=list(_SHOWN.values()))
    shapes = alt.Scale(domain=names, range=["circle", "diamond", "square"])
    common = alt.Chart(alt.Data(values=own)).encode(
        x=x,
        xOffset=alt.XOffset("condition:N", sort=names, scale=alt.Scale(domain=names)),
        color=alt.Color("condition:N", scale=colours, legend=legend),
    )
    spans = common.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", scale=scale, title=name), y2="high:Q"
    )
    dots = common.mark_point(size=60, filled=True, opacity=1).encode(
        y=alt.Y("mid:Q", scale=scale), shape=alt.Shape("condition:N", scale=shapes, legend=legend)
    )
    layers = [spans, dots]
    default = base.view.of("transfer").get(key) if base and base.view else None
    if default is not None:
        rule = alt.Chart(alt.Data(values=[{"mid": value_of(default)}]))
        layers.insert(0, rule.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(y="mid:Q"))
    return alt.layer(*layers).properties(width=WIDTH, height=_HEIGHT)


def _in_words(run: LimitRun, shown: Mapping[str, tuple[str, list[int] | None]]) -> str:
    view = run.view
    if view is None or run.success is None:
        return f"{run.value}: {'nothing to transfer' if run.finished else 'not finished'}."
    after = view.of("transfer")
    figures = (f"{name} {format_interval(after.get(k), None)}" for k, (name, _) in shown.items())
    return f"{run.value}: {', '.join(figures)}."
