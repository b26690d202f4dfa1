"""Figures over layers: similarity, donor, agreement, recipe and guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from conceptbasis.behaviors.base import Words
from conceptbasis.report.figures.theme import (
    BLUE,
    GRID,
    INK,
    MUTED,
    ORANGE,
    VERMILION,
    WIDTH,
    Figure,
)
from conceptbasis.report.inspection import RecipeLayer
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded
from conceptbasis.results.matching import Alignment

_TOP_ATOMS = 8
_CURVE_POINTS = 48
_SEQUENCE = ("#3b7dd8", "#b0569c", "#e08214")  # of middle lightness: seen on white and on black
_HIGHEST_SHOWN = 0.25  # the guard never takes more than a small share of the width


def _layer_axis(title: str, n_layers: int) -> alt.Axis:
    step = 1 if n_layers <= 16 else 4
    return alt.Axis(title=title, values=list(range(0, n_layers, step)), labelAngle=0, format="d")


def similarity_figure(align: Alignment | None) -> Figure | None:
    """Similarity of every pair of layers above its null, with the aligned path."""
    if align is None:
        return None
    score = align.score
    cells = [
        {"target": j, "donor": i, "above": value - chance}
        for j, (row, nulls) in enumerate(zip(score, align.null, strict=True))
        for i, (value, chance) in enumerate(zip(row, nulls, strict=True))
        if value is not None and chance is not None
    ]
    if not cells:
        return None
    path = [{"target": t, "donor": d} for t, d in sorted(align.layer_map)]
    n_target, n_donor = len(score), len(score[0])
    x = alt.X("donor:O", axis=_layer_axis("donor layer", n_donor), scale=_bands(n_donor))
    y = alt.Y(
        "target:O",
        axis=_layer_axis("target layer", n_target),
        scale=_bands(n_target),
        sort="descending",
    )
    colour = alt.Color(
        "above:Q",
        scale=_shades([cell["above"] for cell in cells]),
        legend=alt.Legend(title="score − null", gradientLength=200),
    )
    heat = alt.Chart(alt.Data(values=cells)).mark_rect().encode(x=x, y=y, color=colour)
    line = _route(alt.Chart(alt.Data(values=path)).encode(x=x, y=y, order="target:Q"))
    size = max(14, min(36, WIDTH // max(n_donor, n_target)))
    pairs = ", ".join(f"{p['target']} from {p['donor']}" for p in path) or "none"
    best = max(cells, key=lambda cell: cell["above"])
    return Figure(
        "similarity",
        "Similarity of layers",
        "SVCCA between the recipe's donor codes and their matched target codes, less its shuffled "
        "null; empty cells are undefined. The black path is the layer map that was used. "
        f"Target layers left alone: {_listed(align.unedited)}.",
        f"Heat map of {n_target} target by {n_donor} donor layers. Highest: target layer "
        f"{best['target']} with donor layer {best['donor']}, {best['above']:.2f} above the null. "
        f"Layer map, target from donor: {pairs}.",
        (heat + line).properties(width=alt.Step(size), height=alt.Step(size)),
    )


def _shades(values: Sequence[float]) -> alt.Scale:
    """One hue where all layers are more alike than chance, two around zero where some are not."""
    least, most = min(values), max(values)
    if least > 0:
        return alt.Scale(scheme="oranges", domain=[0.8 * least, most])
    end = max(most, -least) or 1.0
    return alt.Scale(scheme="purpleorange", domain=[-end, end], domainMid=0)


def _route(path: Any) -> Any:
    """Black on white: the path must stay visible on every colour of the cells below it."""
    dots = alt.OverlayMarkDef(color="#000000", size=40)
    under = path.mark_line(color="#ffffff", strokeWidth=5)
    return under + path.mark_line(color="#000000", strokeWidth=2, point=dots)


def _bands(n: int) -> alt.Scale:
    return alt.Scale(domain=list(range(n)), padding=0)


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers)) or "none"


def _series(values: Sequence[float | None], title: str, x_title: str, n: int, **scale: Any) -> Any:
    points = [{"layer": i, "value": v} for i, v in enumerate(values) if v is not None]
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X(
            "layer:Q", axis=_layer_axis(x_title, n), scale=alt.Scale(domain=[0, max(n - 1, 1)])
        ),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(**scale), axis=alt.Axis(tickCount=4)),
    )
    dots = base.mark_point(color=BLUE, fill=BLUE, size=45, opacity=1)
    return (base.mark_line(color=BLUE, strokeWidth=2) + dots).properties(width=WIDTH, height=120)


def donor_figure(direction: DonorDirection | None, cosines: Sequence[float]) -> Figure | None:
    """Norm of the donor's per-layer directions, their cosines, and its probe, by layer."""
    if direction is None:
        return None
    norms, probes, window = direction.norms, direction.probe_accuracy, direction.window
    n = len(norms)
    charts = [
        _series(norms, "norm", "", n, zero=True),
        *([_series(cosines, "cosine, next layer", "", n, domain=[-1, 1])] if cosines else []),
        _series(probes, "probe accuracy", "donor layer", n, domain=[0.5, 1], clamp=True),
    ]
    if window:
        shade = alt.Chart(
            alt.Data(values=[{"from": layer - 0.5, "to": layer + 0.5} for layer in window])
        )
        shade = shade.transform_calculate(a="max(0, datum['from'])", b=f"min({n - 1}, datum['to'])")
        band = shade.mark_rect(color=GRID, opacity=0.6).encode(x=alt.X("a:Q"), x2="b:Q")
        charts = [alt.layer(band, chart) for chart in charts]
    listed = "; ".join(
        f"layer {i}: norm {a:.2f}, probe {b:.2f}"
        for i, (a, b) in enumerate(zip(norms, probes, strict=True))
        if a is not None and b is not None
    )
    if cosines:
        listed += "; cosine with the next layer " + ", ".join(f"{c:.2f}" for c in cosines)
    return Figure(
        "donor",
        "The donor's per-layer directions",
        "Norm of the difference of means, cosine of its direction with that of the next layer, "
        "and held-out accuracy of a probe for the behavior, by donor layer. Shaded: the window of "
        "layers above the probe bound.",
        f"{listed}. Window: layers {_listed(window)}.",
        alt.vconcat(*charts, spacing=12),
    )


def agreement_figure(layers: Sequence[RecipeLayer], n_layers: int) -> Figure | None:
    """Projection agreement of the rebuilt direction and cosine of the recipe, by target layer.

    Args:
        layers: Layers of `inspection.read_recipe`.
        n_layers: Layers of the target.
    """
    charts, words = [], []
    series = {
        "agreement": {layer.target: layer.agreement for layer in layers},
        "cosine of the recipe": {layer.target: layer.donor_cosine for layer in layers},
    }
    for title, found in series.items():
        values = [found.get(i) for i in range(n_layers)]
        known = [value for value in values if value is not None]
        if known:
            domain = [min(0.0, *known), 1]
            charts.append(_series(values, title, "target layer", n_layers, domain=domain))
            listed = ", ".join(f"layer {i} {v:.2f}" for i, v in enumerate(values) if v is not None)
            words.append(f"{title}: {listed}")
    if not charts:
        return None
    return Figure(
        "agreement",
        "Agreement of projections",
        "Held-out correlation, over benign sites, between the donor's projection on its direction "
        "and the target's on the rebuilt one, by target layer; it needs no label of the target. "
        "Below: cosine of the recipe's donor side with the donor's direction.",
        "; ".join(words) + ".",
        alt.vconcat(*charts, spacing=12),
    )


def _bars(layers: Sequence[RecipeLayer]) -> list[dict[str, Any]]:
    bars = []
    for layer in layers:
        for rank, atom in enumerate(layer.donor_atoms):
            sign = 1 if atom.coefficient > 0 else -1
            rest = rank >= _TOP_ATOMS
            kind = "further atoms" if rest else ("raises" if sign > 0 else "lowers")
            row = {"layer": layer.target, "rank": rank, "kind": kind}
            bars.append({**row, "share": sign * (atom.share or 0.0), "atom": atom.latent})
    return bars


def recipe_figure(layers: Sequence[RecipeLayer], words: Words) -> Figure | None:
    """Signed shares of the atoms of each layer, stacked, the strongest nearest to zero.

    Args:
        layers: Layers of `inspection.read_recipe`.
        words: Of the behavior.
    """
    bars = _bars(layers)
    if not bars:
        return None
    kinds = alt.Scale(domain=["raises", "lowers", "further atoms"], range=[BLUE, ORANGE, MUTED])
    chart = alt.Chart(alt.Data(values=bars)).encode(
        x=alt.X(
            "layer:O", axis=alt.Axis(title="target layer", labelAngle=0, labelOverlap="greedy")
        ),
        y=alt.Y("share:Q", title="signed share of the layer's coefficients", stack="zero"),
        order=alt.Order("rank:Q"),
        detail="rank:Q",
        color=alt.Color("kind:N", scale=kinds, legend=alt.Legend(title=None)),
    )
    marks = chart.mark_bar(stroke=INK, strokeWidth=0.6)
    listed = [
        f"layer {layer.target}: "
        + ", ".join(f"{a.latent} ({a.coefficient:+.2f})" for a in layer.donor_atoms[:3])
        for layer in layers
    ]
    return Figure(
        "recipe",
        "The recipe",
        "Each bar is a layer, each piece a donor atom: blue pieces push towards "
        f"{words.noun}, orange pieces away from it, the strongest next to zero. Those after the "
        f"first {_TOP_ATOMS} are grey.",
        "Strongest atoms with coefficients. " + "; ".join(listed) + ".",
        marks.properties(width=WIDTH, height=240),
    )


def guard_figure(guard: Guarded | None) -> Figure | None:
    """Overlap of the rebuilt directions with the strongest writing directions, as a curve in k."""
    if guard is None:
        return None
    points, words = [], []
    for layer in guard.layers:
        curve = layer.overlap_curve
        shown = max(1, round(_HIGHEST_SHOWN * len(curve))) if len(curve) > 64 else len(curve)
        step = max(1, shown // _CURVE_POINTS)
        for index in sorted({*range(0, shown, step), max(shown - 1, 0)} if curve else ()):
            points.append({"k": index + 1, "overlap": curve[index], "layer": layer.target})
        words.append(f"layer {layer.target}: {layer.overlap_energy:.2f}")
    if not points:
        return None
    colour = alt.Color(
        "layer:Q", scale=alt.Scale(range=list(_SEQUENCE), interpolate="lab"), title="target layer"
    )
    lines = (
        alt.Chart(alt.Data(values=points))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("k:Q", title="k, guarded directions"),
            y=alt.Y("overlap:Q", title="overlap energy", scale=alt.Scale(domain=[0, 1])),
            color=colour.legend(gradientLength=200, format="d", tickMinStep=1),
            detail="layer:N",
        )
    )
    chart = lines + _rule_at(guard.k)
    return Figure(
        "guard",
        "Overlap with the guard",
        "Share of each rebuilt direction's energy in the k strongest directions that the target's "
        f"weights write, up to a quarter of the width in wide models. "
        f"The dashed line is the k in use ({guard.k}).",
        f"Overlap energy at the k in use. {'; '.join(words)}.",
        chart.properties(width=WIDTH, height=200),
    )


def _rule_at(k: int) -> Any:
    rule = alt.Chart(alt.Data(values=[{"k": k}]))
    return rule.mark_rule(color=VERMILION, strokeDash=[4, 3], strokeWidth=2).encode(x="k:Q")
