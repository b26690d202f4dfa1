"""One row per run, for many pairs at once; reads `summary.json` only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import MARKDOWN
from rich.table import Table
from rich.text import Text

from conceptbasis.evaluation.metrics import (
    GROUPS,
    MISSING,
    Interval,
    figures_of,
    format_interval,
    format_number,
)

_BASELINES = GROUPS["Baselines"]
_CONTROLS = GROUPS["Controls that must fail"]

Summary = Mapping[str, Any]
Figures = Mapping[str, Interval | None]


def overview_table(summaries: Mapping[str, Summary]) -> Table:
    """A row per run: refusal before and after, its share of native's reduction, what it costs.

    Args:
        summaries: Contents of `summary.json` by the name of the run.

    Returns:
        A table in Markdown, so that it can be put into a document as it is.
    """
    table = Table(box=MARKDOWN, padding=(0, 1, 0, 0))
    for name in (
        "run",
        "untouched",
        "transfer",
        "native",
        "share",
        "compliance",
        "early",
        "its compliance",
        "early native",
        "trajectory",
        "its compliance",
        "benign KL",
        "p95",
        "best baseline",
        "lowest control",
        "area",
        "best baseline's",
        "verdict",
    ):
        table.add_column(name, no_wrap=True)
    for name, summary in summaries.items():
        table.add_row(Text(name), *map(Text, _row(summary)))
    return table


def _row(summary: Summary) -> list[str]:
    before, after, native = (figures_of(summary, n) for n in ("baseline", "transfer", "native"))
    early = figures_of(summary, "early_layers_only")
    early_native = figures_of(summary, "native_early")
    trajectory = figures_of(summary, "trajectory")
    return [
        format_interval(before.get("refusal")),
        format_interval(after.get("refusal")),
        format_interval(native.get("refusal")),
        _percent(share_of_native(before, after, native)),
        _ratio(after, native, "recovered_compliance"),
        format_interval(early.get("refusal")),
        _ratio(early, native, "recovered_compliance"),
        format_interval(early_native.get("refusal")),
        format_interval(trajectory.get("refusal")),
        _ratio(trajectory, native, "recovered_compliance"),
        _three(after.get("kl_first_token/mean")),
        _three(after.get("kl_first_token/p95")),
        _extreme(summary, _BASELINES),
        _extreme(summary, _CONTROLS),
        *_areas(summary),
        summary["verdict"]["word"],
    ]


def share_of_native(before: Figures, after: Figures, native: Figures) -> float | None:
    """The fall of refusal as a share of the fall under the target's own direction."""
    start, end, best = (f.get("refusal") for f in (before, after, native))
    if start is None or end is None or best is None or start.value == best.value:
        return None
    return (start.value - end.value) / (start.value - best.value)


def _ratio(after: Figures, native: Figures, key: str) -> str:
    ours, own = after.get(key), native.get(key)
    if ours is None or own is None:
        return MISSING
    share = _percent(ours.value / own.value) if own.value else MISSING
    return f"{format_number(ours.value)} ({share})"


def _extreme(summary: Summary, names: tuple[str, ...]) -> str:
    """The condition among some that leaves least refusal."""
    found = [(f.value, n) for n in names if (f := figures_of(summary, n).get("refusal"))]
    return MISSING if not found else "{:.2f} {}".format(*min(found))


def _areas(summary: Summary) -> list[str]:
    """Area under the refusal-versus-damage curve, of the transfer and of the best baseline."""
    methods = (summary.get("curve") or {}).get("methods") or {}
    areas = {name: entry["area"]["value"] for name, entry in methods.items() if entry["area"]}
    rivals = [(areas[name], name) for name in _BASELINES if name in areas]
    own = f"{areas['transfer']:.3f}" if "transfer" in areas else MISSING
    return [own, "{:.3f} {}".format(*min(rivals)) if rivals else MISSING]


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{share:.0%}"


def _three(figure: Interval | None) -> str:
    return MISSING if figure is None else f"{figure.value:.3f}"
