"""How figures look: one palette, one size, and SVG that follows the page's colours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair

INK, GRID, PAPER, MUTED = "#1c1e21", "#d6d9dd", "#fdfdfc", "#9aa0a6"
"""Text, rules, background and things of less interest, in the light form."""

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
)
"""Okabe and Ito's colours, which stay apart under every common colour blindness."""

CSS_NAMES = {
    INK: "currentColor",
    GRID: "var(--rule)",
    PAPER: "var(--paper)",
    MUTED: "var(--muted)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    VERMILION: "var(--vermilion)",
    PURPLE: "var(--purple)",
    SKY: "var(--sky)",
}
"""What each colour becomes inside the page, where the style sheet decides."""

WIDTH = 470
PHONE_WIDTH = 350
"""Width of the plot of a figure, and of a whole figure on a phone."""


@dataclass(frozen=True)
class Figure:
    """A chart with its words.

    Args:
        name: Name of its files.
        title: Heading.
        caption: What the reader should look at, and what the marks mean.
        alternative: What the chart shows, for those who cannot see it.
        chart: The altair chart.
    """

    name: str
    title: str
    caption: str
    alternative: str
    chart: altair.TopLevelMixin


_TEXT = {
    "labelColor": INK,
    "titleColor": INK,
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "aria": False,
}
CONFIG = {
    "background": PAPER,
    "font": "sans-serif",
    "padding": 6,
    "view": {"stroke": None},
    "axis": {**_TEXT, "gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "labelLimit": 220},
    "legend": {**_TEXT, "orient": "bottom"},
    "title": {"color": INK, "fontSize": 13, "anchor": "start", "frame": "bounds"},
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
    "mark": {"aria": False},
}


@dataclass(frozen=True)
class Rendered:
    """A chart as files.

    Args:
        svg: At full width.
        png: At twice the size.
        narrow: The SVG at the width of a phone, None where the other one is as narrow.
    """

    svg: str
    png: bytes
    narrow: str | None


def render(chart: Any) -> Rendered:
    """Renders a chart without network and without a browser."""
    import vl_convert

    spec = {**chart.to_dict(validate=False), "config": CONFIG}
    text = json.dumps(spec)
    svg = vl_convert.vegalite_to_svg(text)
    return Rendered(svg, vl_convert.vegalite_to_png(text, scale=2), _render_narrow(spec, svg))


def _render_narrow(spec: Mapping[str, Any], wide: str) -> str | None:
    """The chart again at the width of a phone, with letters as large as before."""
    import vl_convert

    excess = svg_width(wide) - PHONE_WIDTH
    if excess <= 0:
        return None
    narrow: str = vl_convert.vegalite_to_svg(json.dumps(_narrowed(spec, excess)))
    return narrow


def svg_width(svg: str) -> float:
    """The width that an SVG states of itself."""
    found = re.search(r'<svg[^>]*? width="([\d.]+)"', svg)
    return float(found[1]) if found else 0.0


def _narrowed(spec: Any, excess: float) -> Any:
    """A specification whose plots are narrower by `excess`, with legends of two columns."""
    if isinstance(spec, list):
        return [_narrowed(entry, excess) for entry in spec]
    if not isinstance(spec, dict):
        return spec
    found = {key: _narrowed(value, excess) for key, value in spec.items() if key != "data"}
    if found.get("width") == WIDTH:
        found["width"] = WIDTH - excess
    elif isinstance(found.get("width"), dict):  # cells of a fixed size
        share = PHONE_WIDTH / (PHONE_WIDTH + excess)
        for side in {"width", "height"} & found.keys():
            found[side] = {"step": found[side]["step"] * share}
    if found.get("columns", 0) > 2 and "orient" in found:
        found["columns"] = 2
    return found | ({"data": spec["data"]} if "data" in spec else {})


def inline_svg(svg: str, figure: Figure) -> str:
    """Makes an SVG part of a page: its own ids, a text alternative, and the page's colours."""
    svg = svg[svg.index("<svg") :]
    for attribute in ('id="', 'href="#', "url(#"):  # ids of several figures would collide
        svg = svg.replace(attribute, f"{attribute}{figure.name}-")
    for colour, css in CSS_NAMES.items():
        svg = re.sub(re.escape(f'"{colour}"'), f'"{css}"', svg, flags=re.IGNORECASE)
    label = f"{figure.name}-title {figure.name}-desc"
    svg = svg.replace("<svg ", f'<svg role="img" aria-labelledby="{label}" ', 1)
    words = (
        f'<title id="{figure.name}-title">{escape(figure.title)}</title>'
        f'<desc id="{figure.name}-desc">{escape(figure.alternative)}</desc>'
    )
    end = svg.index(">") + 1
    return svg[:end] + words + svg[end:]
