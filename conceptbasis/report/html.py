"""The report of a run: one HTML file without network or other files, from artifacts only.

It holds no answer of a model, and of hidden texts their topic words only, so that it can be shared
and logged. The one script in it filters and sorts atoms; a hash admits it and no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptbasis.behaviors import find_behavior
from conceptbasis.report import (
    beside_verdict,
    edit_facts,
    recipe_tables,
    run_tables,
    stage_tables,
)
from conceptbasis.report.artifacts import PROVENANCE, RunFolder
from conceptbasis.report.figures.theme import Figure, inline_svg, render
from conceptbasis.report.inspection import Recipe, read_recipe
from conceptbasis.report.own_labels import LABELS
from conceptbasis.report.pages import atom_browser, glossary
from conceptbasis.report.pages.downloads import Download, downloads_of
from conceptbasis.report.pages.inline import read_inline, template
from conceptbasis.report.table import MISSING, Table
from conceptbasis.results.atoms import Stability
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Forecast, Guarded
from conceptbasis.results.evaluation import Curve, Evaluation
from conceptbasis.results.matching import Alignment
from conceptbasis.results.recipe import Transfer
from conceptbasis.results.summary import SideSummary, Summary
from conceptbasis.runs.files import (
    CONFIG,
    file_hash,
    folder_hash,
    value_hash,
    write_bytes,
    write_text,
)
from conceptbasis.runs.storage import TENSORS
from conceptbasis.runs.summary import SUMMARY, read_summary

if TYPE_CHECKING:
    from markupsafe import Markup

    from conceptbasis.interpret.safety import SafetyOverlap

FIGURES = (
    *("rate", "lengths", "capability", "curve"),
    *("similarity", "donor", "agreement", "recipe", "guard"),
)

REPORT, WITH_TEXT = "report.html", "report_with_text.html"
"""File names of the report that may be shared, and of the one with hidden text in it."""


def build_report(folder: Path, *, show_text: bool = False, reuse: bool = False) -> Path:
    """Writes `report.html`, and its figures as SVG and PNG under `figures/`.

    Args:
        folder: A run folder with `summary.json`. Stages that did not run are shown as missing.
        show_text: Write `report_with_text.html` instead, which holds hidden texts in full.
        reuse: Whether a page that was made from the same files by the same code is kept.

    Returns:
        The path of the file.

    Raises:
        ArtifactError: if the summary is missing, a file is corrupt, or nothing can be written.
    """
    path, key = folder / (WITH_TEXT if show_text else REPORT), _key(folder)
    if reuse and path.exists() and key in path.read_text(encoding="utf-8")[:_KEY_WITHIN]:
        return path
    summary, run = read_summary(folder), RunFolder(folder)
    words = find_behavior(summary.behavior).words
    recipe = Recipe((), None, None)
    if run.finished("fit") and run.finished("transfer"):
        recipe = read_recipe(folder, show_text=show_text)
    figures = {figure.name: place_figure(folder, figure) for figure in draw(run, summary, recipe)}
    page = template("conceptbasis.report", "template.html").render(
        key=key,
        title=f"{summary.donor.name} → {summary.target.name}",
        words=words,
        facts=_facts(summary),
        verdict=summary.verdict,
        beside_verdict=beside_verdict.baseline_sentences(summary),
        sections=_sections(words.noun.capitalize()),
        figures={name: figures.get(name) for name in FIGURES},
        tables=all_tables(run, summary, recipe),
        edit=edit_facts.edit_facts(summary, run),
        shared=summary.plan.shared,
        recipe=recipe.layers,
        donor_table=recipe_tables.donor_table,
        rebuilt_table=recipe_tables.rebuilt_table,
        atoms=atom_browser.atom_cards(recipe.layers),
        show_text=show_text,
        **_script(),
        forecast_lines=stage_tables.forecast_lines(run.read("forecast", Forecast)),
    )
    write_text(path, page)
    return path


_KEY_WITHIN = 1000  # characters
_ROOMS = ("report", "behaviors", "methods", "evaluation", "results")


def _key(folder: Path) -> str:
    """Hash of all that a report is made from: files of the run, and the code that draws it."""
    files = [
        folder / SUMMARY,
        folder / CONFIG,
        folder / LABELS,
        *sorted(folder.glob(f"*/{PROVENANCE}")),
    ]
    made_from = [(f.parent.name, file_hash(f)) for f in files if f.exists()]
    package = Path(__file__).parents[1]
    rooms = [(room, kind) for room in _ROOMS for kind in ("py", "html", "js")]
    code = [folder_hash(package / room, f"**/*.{kind}") for room, kind in rooms]
    return value_hash([made_from, code])


def _sections(noun: str) -> list[tuple[str, str]]:
    return [
        ("before-after", "Before and after"),
        ("edit", "The edit"),
        ("conditions", "Conditions"),
        ("capability", "Capability"),
        ("curve", f"{noun} against damage"),
        ("layers", "Layers"),
        ("recipe", "Recipe"),
        ("atoms", "Atoms"),
        ("guard", "Guard"),
        ("forecast", "Forecast"),
        ("ledger", "Ledger"),
        ("time", "Time and provenance"),
        ("words", "Words"),
    ]


def all_tables(run: RunFolder, summary: Summary, recipe: Recipe) -> dict[str, Table | None]:
    """Every table of the report by name, None where there is nothing to show."""
    words = find_behavior(summary.behavior).words
    evaluation = run.read("evaluate", Evaluation)
    return {
        "before_after": run_tables.before_after(summary),
        "routes": stage_tables.route_table(run.read("transfer", Transfer)),
        "safety": stage_tables.safety_table(_safety(run)),
        "conditions": run_tables.conditions(summary),
        "judges": run_tables.judges(summary),
        "agreement": run_tables.agreement(summary.agreement_of_judges),
        "lengths": stage_tables.length_table(summary.by_length, words),
        "groups": stage_tables.group_table(evaluation.by_group if evaluation else (), words),
        "curve": stage_tables.curve_table(run.read("curve", Curve), words),
        "stability": recipe_tables.stability_table(run.read("stability", Stability)),
        "flows": recipe_tables.flows_table(recipe, words),
        "guard": stage_tables.guard_table(run.read("guard", Guarded)),
        "forecast": stage_tables.forecast_table(summary.forecast, words),
        "ledger": stage_tables.ledger_table(summary.ledger),
        "stages": stage_tables.time_table(run.provenance),
        "versions": stage_tables.version_table(run.provenance),
        "hashes": stage_tables.hash_table(run.provenance),
        "glossary": glossary.glossary(summary, words),
    }


def _safety(run: RunFolder) -> SafetyOverlap | None:
    if not (run.finished("align") and run.finished("replay")):
        return None
    from conceptbasis.interpret.safety import safety_overlap  # loads a tensor library

    return safety_overlap(run.path)


def _script() -> dict[str, Any]:
    """The script and the hash by which the page's own policy admits it."""
    script = read_inline("conceptbasis.report", "browser.js")
    return {"script": script.text, "script_hash": script.hash}


def draw(run: RunFolder, summary: Summary, recipe: Recipe) -> list[Figure]:
    """The figures of a run; those without data are left out."""
    from conceptbasis.report.figures import conditions, curve, layers, lengths

    words = find_behavior(summary.behavior).words
    direction = run.read("direction", DonorDirection)
    drawn = [
        conditions.rate_figure(summary),
        lengths.lengths_figure(summary.by_length, words),
        conditions.capability_figure(summary),
        curve.curve_figure(run.read("curve", Curve), words),
        layers.similarity_figure(run.read("align", Alignment)),
        layers.donor_figure(direction, _cosines(run.path) if direction else []),
        layers.agreement_figure(recipe.layers, summary.target.n_layers),
        layers.recipe_figure(recipe.layers, words),
        layers.guard_figure(run.read("guard", Guarded)),
    ]
    return [figure for figure in drawn if figure is not None]


def _cosines(folder: Path) -> list[float]:
    """Cosine of the donor's direction at each layer with that at the next one."""
    from safetensors.numpy import load_file

    found = load_file(folder / "direction" / TENSORS)["per_layer"]
    return (found[:-1] * found[1:]).sum(axis=1).tolist()


@dataclass(frozen=True)
class PlacedFigure:
    """What the page shows of a figure."""

    title: str
    caption: str
    alternative: str
    svg: Markup
    narrow: Markup | None
    downloads: Sequence[Download]


def place_figure(folder: Path, figure: Figure) -> PlacedFigure:
    """Saves a figure under `figures/` and prepares it for a page."""
    from markupsafe import Markup

    drawn = render(figure.chart)
    write_text(folder / "figures" / f"{figure.name}.svg", drawn.svg)
    write_bytes(folder / "figures" / f"{figure.name}.png", drawn.png)
    on_a_phone = replace(figure, name=f"{figure.name}-narrow")
    return PlacedFigure(
        figure.title,
        figure.caption,
        figure.alternative,
        # The one piece that is not escaped: the renderer and `inline_svg` have escaped its text.
        Markup(inline_svg(drawn.svg, figure)),
        Markup(inline_svg(drawn.narrow, on_a_phone)) if drawn.narrow else None,
        downloads_of(figure, drawn),
    )


def _facts(summary: Summary) -> str:
    def model(name: str, side: SideSummary) -> str:
        path = Path(side.model)
        shown = path.name if path.is_absolute() else side.model  # no paths of this machine
        return f"{name} {shown} ({side.n_layers} layers, width {side.d_model})"

    gamma = MISSING if summary.gamma is None else summary.gamma
    return (
        f"{model('donor', summary.donor)}; {model('target', summary.target)}; budget "
        f"{summary.budget}; route {summary.route}; {summary.mode} on {summary.scope}, γ {gamma}; "
        f"{summary.max_new_tokens} answer tokens"
    )
