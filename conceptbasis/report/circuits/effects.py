"""The map of effects: layers by heads, with the MLPs beside them, for both models and each task."""

from __future__ import annotations

from typing import Any

import altair as alt

from conceptbasis.report.figures.theme import BLUE, GRID, INK, VERMILION, WIDTH, Figure
from conceptbasis.results.circuits import Circuit, ModelCircuits, SharedCircuits

_MLP = "MLP"
_SMALLEST, _LARGEST = 8, 20


def effect_figures(result: SharedCircuits) -> list[Figure]:
    """One figure a task."""
    return [
        _figure(result, one, other)
        for one, other in zip(result.donor.circuits, result.target.circuits, strict=True)
    ]


def _figure(result: SharedCircuits, one: Circuit, other: Circuit) -> Figure:
    sides = ((result.donor, one), (result.target, other))
    high = max(abs(e.effect.value) for _, c in sides for e in c.effects) or 1.0
    columns = sum(model.n_heads + 1 for model, _ in sides)
    size = max(_SMALLEST, min(_LARGEST, WIDTH // columns))
    panels = [_panel(model, circuit, high, size) for model, circuit in sides]
    return Figure(
        f"circuits-{one.task}",
        f"{one.task}: what each head and MLP carries",
        "Each cell is a head, the last column the MLPs; the first block is at the bottom. Colour: "
        "the share of the task that falls when that component alone is knocked out (blue: it rises "
        "instead). A dot marks the circuit.",
        " ".join(_in_words(model, circuit) for model, circuit in sides),
        alt.hconcat(*panels, spacing=24).resolve_scale(color="shared"),
    )


def _panel(model: ModelCircuits, circuit: Circuit, high: float, size: int) -> Any:
    inside = set(circuit.members)
    cells = [
        {
            "layer": e.component.layer,
            "head": _MLP if e.component.head < 0 else str(e.component.head),
            "effect": e.effect.value,
            "inside": e.component in inside,
        }
        for e in circuit.effects
    ]
    every = 1 if model.n_layers <= 16 else 4
    shown = list(range(0, model.n_layers, every))
    x = alt.X(
        "head:O",
        sort=[*(str(h) for h in range(model.n_heads)), _MLP],
        axis=alt.Axis(title="head", labelAngle=0, labelOverlap=True),
    )
    y = alt.Y("layer:O", sort="descending", axis=alt.Axis(title="layer", values=shown, format="d"))
    colour = alt.Color(
        "effect:Q",
        scale=alt.Scale(domain=[-high, 0, high], range=[BLUE, GRID, VERMILION], interpolate="rgb"),
        legend=alt.Legend(title="effect", gradientLength=160, format=".2f"),
    )
    base = alt.Chart(alt.Data(values=cells)).encode(x=x, y=y)
    dots = base.transform_filter("datum.inside").mark_point(
        shape="circle", size=size, filled=True, color=INK, opacity=1
    )
    heat = base.mark_rect().encode(color=colour)
    title = f"{model.name}, {circuit.task}"
    return (heat + dots).properties(
        width=alt.Step(size), height=alt.Step(size), title=title[: 10 + size * model.n_heads]
    )


def _in_words(model: ModelCircuits, circuit: Circuit) -> str:
    best = sorted(circuit.effects, key=lambda e: -e.effect.value)[:3]
    named = ", ".join(f"{e.component.name} {e.effect.value:.2f}" for e in best)
    return (
        f"{model.name}: {len(circuit.members)} of {len(circuit.effects)} components are in the "
        f"circuit; the largest effects are {named}."
    )
