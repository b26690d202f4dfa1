"""Terminal tables of a summary: before and after, all conditions, runs side by side.

They read `summary.json` only, so that `compare` answers at once; no tensor library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from conceptbasis.evaluation.metrics import (
    MISSING,
    Metric,
    condition_figures,
    deltas,
    figures_of,
    format_delta,
    format_interval,
    format_number,
    grouped,
    metrics_of,
    wants_removal,
)

_RUNS_PER_TABLE = 3  # more columns of runs do not fit 80 characters
_REFERENCES = {"untouched": "baseline", "native": "native", "random": "random_direction"}
_OVER = ("over_refusal/safe", "over_refusal/mentions", "over_refusal/declines")


def wanted_direction(metric: Metric, summary: Mapping[str, Any]) -> str:
    """Where a figure should go: a run that strengthens refusal wants the opposite of a removal."""
    about_refusal = metric.key in ("refusal", "recovered_compliance")
    if about_refusal and not wants_removal(summary):
        return "higher" if metric.wanted == "lower" else "lower"
    return metric.wanted


def verdict_line(summary: Mapping[str, Any]) -> str:
    """The verdict in one line: the word and its reason."""
    verdict = summary["verdict"]
    return f"{verdict['word']}: {verdict['reason']}" if verdict.get("reason") else verdict["word"]


def _table(title: str) -> Table:
    shown = Text(title) if title else None  # Text: names are not markup
    return Table(title=shown, box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))


def _delta_text(metric: Metric, change: float | None, summary: Mapping[str, Any]) -> Text:
    """Colour repeats what sign and arrow say; it is never the only sign."""
    shown = format_delta(change, metric.unit)
    if change is None or shown.endswith("="):
        return Text(shown)
    good = (change < 0) == (wanted_direction(metric, summary) == "lower")
    return Text(shown, style="green" if good else "yellow")


def before_after_table(summary: Mapping[str, Any]) -> RenderableType:
    """The untouched target, the target under the transfer, and the change of every figure.

    Args:
        summary: Contents of `summary.json`.

    Returns:
        A renderable of at most 80 columns.
    """
    before, after = figures_of(summary, "baseline"), figures_of(summary, "transfer")
    change = deltas(before, after)
    names = f"{summary['donor']['name']} → {summary['target']['name']}"
    table = _table(f"{names}, budget {summary['budget']}, basis {summary['basis']}")
    table.add_column("", max_width=24)
    for name in ("before", "after"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("delta", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for metric in metrics_of([summary]):
        old, new = before.get(metric.key), after.get(metric.key)
        n = (new or old).n if (new or old) else None  # type: ignore[union-attr]
        table.add_row(
            metric.label,
            format_interval(old, metric.unit),
            format_interval(new, metric.unit),
            _delta_text(metric, change.get(metric.key), summary),
            MISSING if n is None else str(n),
        )
    return Group(table, Text(verdict_line(summary)))


def conditions_table(summary: Mapping[str, Any]) -> RenderableType:
    """Every condition with refusal, the worst over-refusal, compliance, capability, perplexity.

    Args:
        summary: Contents of `summary.json`.

    Returns:
        A renderable of at most 80 columns, conditions grouped by what they show.
    """
    table = _table(f"refusal by {summary['primary_judge']}, {summary['max_new_tokens']} tokens")
    table.add_column("condition", no_wrap=True)
    table.add_column("refusal", justify="right", no_wrap=True)
    for name in ("over", "compl", "benign", "arith", "ppl"):
        table.add_column(name, justify="right", no_wrap=True)
    for group, members in grouped(summary["conditions"]):
        table.add_row(Text(group, style="bold"))
        for condition in members:
            table.add_row(*_condition_row(condition))
    note = "over: the worst of safe, mentions, declines; compl: recovered compliance"
    return Group(table, Text(note, style="dim"))


def _condition_row(condition: Mapping[str, Any]) -> list[str]:
    figures = condition_figures(condition)
    draws = condition.get("draws") or 1
    name = condition["name"] + (f" ×{draws}" if draws > 1 else "")
    over = [figure.value for key in _OVER if (figure := figures[key]) is not None]
    plain = [
        figures[key]
        for key in (
            "recovered_compliance",
            "capability/benign_exact_match",
            "capability/arithmetic",
        )
    ]
    perplexity = figures["perplexity"]
    return [
        f"  {name}",
        format_interval(figures["refusal"]),
        format_number(max(over) if over else None),
        *(format_number(figure.value if figure else None) for figure in plain),
        format_number(perplexity.value if perplexity else None, None),
    ]


def compare_table(summaries: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Runs side by side: what they were, refusal under four conditions, figures of the transfer.

    Args:
        summaries: Contents of `summary.json` by the name of the run.

    Returns:
        A renderable of at most 80 columns; three runs share a table.
    """
    names = list(summaries)
    rows = [names[i : i + _RUNS_PER_TABLE] for i in range(0, len(names), _RUNS_PER_TABLE)]
    return Group(*(_compare(({name: summaries[name] for name in row}), summaries) for row in rows))


def _compare(
    shown: Mapping[str, Mapping[str, Any]], every: Mapping[str, Mapping[str, Any]]
) -> Table:
    table = _table("")
    table.add_column("", max_width=24)
    for name in shown:
        table.add_column(Text(name), justify="right", overflow="fold", max_width=17)
    for label, values in _facts(shown):
        table.add_row(label, *map(Text, values))
    table.add_section()
    for label, condition in _REFERENCES.items():
        figures = [figures_of(summary, condition).get("refusal") for summary in shown.values()]
        table.add_row(f"refusal, {label}", *(format_interval(f) for f in figures))
    table.add_section()
    for metric in metrics_of(every.values()):
        cells = []
        for summary in shown.values():
            figure = figures_of(summary, "transfer").get(metric.key)
            cells.append(format_interval(figure, metric.unit))
        table.add_row(metric.label, *cells)
    table.add_section()
    for metric in metrics_of(every.values()):
        changes = []
        for summary in shown.values():
            change = deltas(figures_of(summary, "baseline"), figures_of(summary, "transfer"))
            changes.append(_delta_text(metric, change.get(metric.key), summary))
        table.add_row(f"Δ {metric.label}", *changes)
    return table


def _facts(summaries: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    runs = list(summaries.values())
    how = [f"{run['mode']}, {run['scope']}" for run in runs]
    return [
        ("donor", [run["donor"]["name"] for run in runs]),
        ("target", [run["target"]["name"] for run in runs]),
        ("verdict", [run["verdict"]["word"] for run in runs]),
        ("budget", [run["budget"] for run in runs]),
        ("basis", [run["basis"] for run in runs]),
        ("edit", how),
        ("layers edited", [str(len(run["layer_map"] or [])) for run in runs]),
        ("answer tokens", [str(run["max_new_tokens"]) for run in runs]),
    ]
