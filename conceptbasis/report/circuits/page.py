"""The page of a study of circuits: one HTML file without network, from `circuits.json` only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from conceptbasis.patching.tasks import find_task
from conceptbasis.report.circuits.effects import effect_figures
from conceptbasis.report.circuits.tables import circuit_tables, effect_table
from conceptbasis.report.html import place_figure
from conceptbasis.report.pages.inline import template
from conceptbasis.results.circuits import SharedCircuits
from conceptbasis.runs.files import write_text

PAGE = "circuits.html"


def write_page(folder: Path, result: SharedCircuits) -> Path:
    """Writes `circuits.html`, and its figures as SVG and PNG under `figures/`.

    Args:
        folder: Of the study.
        result: What was found.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: if nothing can be written.
    """
    tasks = [find_task(circuit.task) for circuit in result.donor.circuits]
    page = template("conceptbasis.report", "circuits/page.html").render(
        title=f"{result.donor.name} and {result.target.name}: circuits",
        facts=_facts(result),
        tasks=tasks,
        figures=[place_figure(folder, figure) for figure in effect_figures(result)],
        tables=[(t.caption, replace(t, caption=t.note, note="")) for t in circuit_tables(result)],
        effects=effect_table(result),
        left_out=result.left_out,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _facts(result: SharedCircuits) -> str:
    models = (("donor", result.donor), ("target", result.target))
    named = [f"{side} {m.name} ({m.n_layers} layers of {m.n_heads} heads)" for side, m in models]
    kept = f"a circuit keeps {result.settings['share']:.0%} of the task"
    return "; ".join([*named, kept, "knock-outs by means of corrupted prompts"])
