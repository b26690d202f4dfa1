"""The report of a run: one HTML file without network or other files, from artifacts only.

It holds no answer of a model, and of harmful requests their topic words only, so that it can be
shared and logged. The one script in it filters and sorts atoms; a hash admits it and no other.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from conceptbasis.evaluation.metrics import MISSING
from conceptbasis.report import atom_browser, edit_facts, html_tables, recipe_tables
from conceptbasis.report.figures.theme import Figure, inline_svg, render
from conceptbasis.report.inspection import read_recipe
from conceptbasis.runs.files import SUMMARY_KEYS, read_json, write_bytes, write_text
from conceptbasis.runs.stage import PROVENANCE, RESULT, TENSORS

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
    "stability",
    "baselines",
    "evaluate",
    "curve",
    "lines",
)
"""Stages of a transfer, in order; a run that was declined has not all of them."""

FIGURES = ("refusal", "capability", "curve", "similarity", "donor", "agreement", "recipe", "guard")

_SECTIONS = (
    ("before-after", "Before and after"),
    ("edit", "The edit"),
    ("conditions", "Conditions"),
    ("capability", "Capability"),
    ("curve", "Refusal against damage"),
    ("layers", "Layers"),
    ("recipe", "Recipe"),
    ("atoms", "Atoms"),
    ("guard", "Guard"),
    ("forecast", "Forecast"),
    ("ledger", "Ledger"),
    ("time", "Time and provenance"),
)


REPORT, WITH_TEXT = "report.html", "report_with_text.html"
"""File names of the report that may be shared, and of the one with harmful text in it."""


def build_report(folder: Path, *, show_text: bool = False) -> Path:
    """Writes `report.html`, and its figures as SVG and PNG under `figures/`.

    Args:
        folder: A run folder with `summary.json`. Stages that did not run are shown as missing.
        show_text: Write `report_with_text.html` instead, which holds harmful requests in full.

    Returns:
        The path of the file.

    Raises:
        ArtifactError: if the summary is missing, a file is corrupt, or nothing can be written.
    """
    summary = read_json(folder / "summary.json", SUMMARY_KEYS)
    results, provenance = read_stages(folder)
    recipe: dict[str, Any] = {"layers": [], "lines": None}
    if {"fit", "transfer"} <= results.keys():
        recipe = read_recipe(folder, show_text=show_text)
    single = summary.get("single_layer")
    figures = {figure.name: figure for figure in _draw(folder, summary, results, recipe)}
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
        edit=edit_facts.edit_facts(summary, results, provenance),
        single=single,
        bases=edit_facts.basis_table(results.get("transfer"), single),
        recipe=[recipe_tables.layer_tables(layer) for layer in recipe["layers"]],
        stability=recipe_tables.stability_table(results.get("stability")),
        lines=recipe_tables.lines_table(
            recipe["lines"], single, recipe_tables.labels_at(recipe["layers"], single)
        ),
        atoms=atom_browser.atom_cards(recipe["layers"]),
        show_text=show_text,
        **_script(),
        forecast_lines=html_tables.forecast_lines(results.get("forecast")),
    )
    path = folder / (WITH_TEXT if show_text else REPORT)
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


def _script() -> dict[str, Any]:
    """The script and the hash by which the page's own policy admits it."""
    from markupsafe import Markup

    text = resources.files("conceptbasis.report").joinpath("browser.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return {"script": Markup(text), "script_hash": f"sha256-{digest}"}


def read_stages(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results and provenance of the finished stages; one without provenance did not finish."""
    finished = [name for name in STAGES if (folder / name / PROVENANCE).exists()]
    results = {name: read_json(folder / name / RESULT) for name in finished}
    return results, {name: read_json(folder / name / PROVENANCE) for name in finished}


def _draw(
    folder: Path, summary: Mapping[str, Any], results: Mapping[str, Any], recipe: Mapping[str, Any]
) -> list[Figure]:
    from conceptbasis.report.figures import conditions, curve, layers

    none: dict[str, Any] = {}
    drawn = [
        conditions.refusal_figure(summary),
        conditions.capability_figure(summary),
        curve.curve_figure(results.get("curve", none)),
        layers.similarity_figure(results.get("align", none)),
        layers.donor_figure(results.get("direction", none), _cosines(folder, results)),
        layers.agreement_figure(recipe["layers"], summary["target"]["n_layers"]),
        layers.recipe_figure(recipe["layers"]),
        layers.guard_figure(results.get("guard", none)),
    ]
    return [figure for figure in drawn if figure is not None]


def _cosines(folder: Path, results: Mapping[str, Any]) -> list[float]:
    """Cosine of the donor's direction at each layer with that at the next one."""
    if "direction" not in results:
        return []
    from safetensors.numpy import load_file

    found = load_file(folder / "direction" / TENSORS).get("trajectory")
    return [] if found is None else (found[:-1] * found[1:]).sum(axis=1).tolist()


def _place(folder: Path, figure: Figure) -> dict[str, Any]:
    """Saves a figure and returns what the template shows of it."""
    from markupsafe import Markup

    drawn = render(figure.chart)
    write_text(folder / "figures" / f"{figure.name}.svg", drawn.svg)
    write_bytes(folder / "figures" / f"{figure.name}.png", drawn.png)
    on_a_phone = replace(figure, name=f"{figure.name}-narrow")
    return {
        "title": figure.title,
        "caption": figure.caption,
        "alternative": figure.alternative,
        # The one piece that is not escaped: the renderer and `inline_svg` have escaped its text.
        "svg": Markup(inline_svg(drawn.svg, figure)),
        "narrow": drawn.narrow and Markup(inline_svg(drawn.narrow, on_a_phone)),
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
