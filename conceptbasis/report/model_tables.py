"""Terminal tables about single models: SAE quality, audits, answers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from conceptbasis.evaluation.metrics import MISSING


def quality_table(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Quality of a model's SAEs, one row per layer."""
    table = _table(
        f"SAEs of {name}", "layer", "d_sae", "explained var.", "L0", "dead", "CE recovered"
    )
    for row in rows:
        table.add_row(
            str(row["layer"]),
            str(row["d_sae"]),
            f"{row['explained_variance']:.3f}",
            f"{row['l0']:.1f}",
            f"{row['dead_share']:.1%}",
            f"{row['ce_recovered']:.3f}",
        )
    return table


def audit_tables(audit: Mapping[str, Any]) -> list[Table]:
    """The selection table of a model and its strength sweep."""
    picked = audit["selection"]["layer"]
    selection = _table(
        f"Directions of {audit['model']}", "layer", "bypass", "induce", "KL", "rejected for"
    )
    for row in audit["selection"]["table"]:
        mark = " <- picked" if row["layer"] == picked and row["reason"] is None else ""
        selection.add_row(
            str(row["layer"]) + mark,
            f"{row['refusal']:+.2f}",
            f"{row['steering']:+.2f}",
            f"{row['kl']:.3f}",
            row["reason"] or MISSING,
        )
    sweep = _table("Strength, in both directions", "edit", "refusal", "over-refusal")
    for row in audit["sweep"]:
        sweep.add_row(row["name"], _rate(row["refusal"]), _rate(row["over_refusal"]))
    return [selection, sweep]


def answers_table(
    prompts: Sequence[str], before: Sequence[str], after: Sequence[str], edited: str
) -> Table:
    """Answers before and after an intervention."""
    table = _table(f"Replay edits {edited}", "prompt", "before", "after")
    for row in zip(prompts, before, after, strict=True):
        table.add_row(*(Text(cell) for cell in row))
    return table


def capability_table(result: Mapping[str, Any]) -> Table:
    """Capability before and after, one row a metric."""
    limit = f", first {result['limit']} items" if result["limit"] else ""
    table = _table(f"Capability{limit}", "task", "metric", "before", "after", "change")
    for row in result["rows"]:
        change = row["after"] - row["before"]
        values = (f"{row['before']:.3f}", f"{row['after']:.3f}", f"{change:+.3f}")
        table.add_row(row["task"], row["metric"], *values)
    return table


def _rate(row: Mapping[str, Any]) -> str:
    return f"{row['rate']:.3f} [{row['low']:.3f}, {row['high']:.3f}] n={row['n']}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column)
    return table
