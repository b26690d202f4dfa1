"""The report of a run: one HTML file without scripts, network or other files, from artifacts only.

It holds no prompt and no answer of a model, so that it can be shared and logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptbasis.artifacts import PROVENANCE, RESULT, read_json, write_bytes, write_text
from conceptbasis.metrics import MISSING
from conceptbasis.report import html_tables
from conceptbasis.report.inspection import recipe_layers
from conceptbasis.report.theme import Figure, inline_svg, render

STAGES = (
    "harvest",
    "match",
    "direction",
    "align",
    "fit",
    "transfer",
    "guard",
    "forecast",
    "replay",
    "atoms",
    "evaluate",
)
"""Stages of a transfer, in order; a run that was declined has not all of them."""

FIGURES = ("refusal", "capability", "similarity", "donor", "agreement", "recipe", "guard")

_SECTIONS = (
    ("before-after", "Before and after"),
    ("conditions", "Conditions"),
    ("capability", "Capability"),
    ("layers", "Layers"),
    ("recipe", "Recipe"),
    ("guard", "Guard"),
    ("forecast", "Forecast"),
    ("ledger", "Ledger"),
    ("time", "Time and provenance"),
)


def build_report(folder: Path) -> Path:
    """Writes `report.html`, and its figures as SVG and PNG under `figures/`.

    Args:
        folder: A run folder with `summary.json`. Stages that did not run are shown as missing.

    Returns:
        The path of `report.html`.

    Raises:
        ArtifactError: if the summary is missing, a file is corrupt, or nothing can be written.
    """
    summary = read_json(folder / "summary.json")
    results = _read_all(folder, RESULT)
    provenance = _read_all(folder, PROVENANCE)
    recipe = recipe_layers(folder) if {"fit", "transfer"} <= results.keys() else []
    figures = {figure.name: figure for figure in _draw(summary, results, recipe)}
    drawn = {
        name: None if name not in figures else _place(folder, figures[name]) for name in FIGURES
    }
    page = _template().render(
        title=f"{summary['donor']['name']} → {summary['target']['name']}",
        facts=_facts(summary),
        word=summary["verdict"]["word"],
        reason=summary["verdict"]["reason"],
        sections=_SECTIONS,
        figures=drawn,
        tables=html_tables.all_tables(summary, results, provenance),
        recipe=[html_tables.recipe_tables(layer) for layer in recipe],
        forecast_lines=html_tables.forecast_lines(results.get("forecast")),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("conceptbasis.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("template.html")


def _read_all(folder: Path, file: str) -> dict[str, Any]:
    """Files of the finished stages; a stage without provenance did not finish and is left out."""
    finished = [name for name in STAGES if (folder / name / PROVENANCE).exists()]
    return {name: read_json(folder / name / file) for name in finished}


def _draw(
    summary: Mapping[str, Any], results: Mapping[str, Any], recipe: list[dict[str, Any]]
) -> list[Figure]:
    from conceptbasis.report import charts_conditions, charts_layers

    none: dict[str, Any] = {}
    drawn = [
        charts_conditions.refusal_figure(summary),
        charts_conditions.capability_figure(summary),
        charts_layers.similarity_figure(results.get("align", none)),
        charts_layers.donor_figure(results.get("direction", none)),
        charts_layers.agreement_figure(
            results.get("transfer", none), summary["target"]["n_layers"]
        ),
        charts_layers.recipe_figure(recipe),
        charts_layers.guard_figure(results.get("guard", none)),
    ]
    return [figure for figure in drawn if figure is not None]


def _place(folder: Path, figure: Figure) -> dict[str, Any]:
    """Saves a figure and returns what the template shows of it."""
    from markupsafe import Markup

    svg, png = render(figure.chart)
    write_text(folder / "figures" / f"{figure.name}.svg", svg)
    write_bytes(folder / "figures" / f"{figure.name}.png", png)
    return {
        "title": figure.title,
        "caption": figure.caption,
        "alternative": figure.alternative,
        # The one piece that is not escaped: the renderer and `inline_svg` have escaped its text.
        "svg": Markup(inline_svg(svg, figure)),
    }


def _facts(summary: Mapping[str, Any]) -> str:
    def model(side: str) -> str:
        entry = summary[side]
        size = f"{entry.get('n_layers')} layers, width {entry.get('d_model')}"
        name = entry.get("model") or entry["name"]
        shown = Path(name).name if Path(name).is_absolute() else name  # no paths of this machine
        return f"{side} {shown} ({size})"

    edit = f"{summary['mode']} on {summary['scope']}, γ {summary['gamma']}"
    return (
        f"{model('donor')}; {model('target')}; budget {summary['budget']}; basis "
        f"{summary['basis']}; {edit}; {summary['max_new_tokens'] or MISSING} answer tokens"
    )
