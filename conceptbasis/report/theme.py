"""How figures look: one palette, one size, and SVG that follows the page's colours."""

from __future__ import annotations

import json
import re
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


def themed(chart: Any) -> Any:
    """Applies the common configuration to a top-level chart."""
    return (
        chart.configure(background=PAPER, font="sans-serif", padding=6)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            gridColor=GRID,
            domainColor=GRID,
            tickColor=GRID,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelLimit=220,
            aria=False,
        )
        .configure_legend(
            labelColor=INK,
            titleColor=INK,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            orient="bottom",
            aria=False,
        )
        .configure_title(color=INK, fontSize=13, anchor="start", frame="bounds")
        .configure_header(labelColor=INK, titleColor=INK, labelFontSize=12)
        .configure_mark(aria=False)
    )


def render(chart: Any) -> tuple[str, bytes]:
    """Renders a chart without network and without a browser.

    Returns:
        The SVG and a PNG at twice the size.
    """
    import vl_convert

    spec = json.dumps(themed(chart).to_dict())
    return vl_convert.vegalite_to_svg(spec), vl_convert.vegalite_to_png(spec, scale=2)


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
