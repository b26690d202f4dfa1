"""Tables of the HTML report, as plain cells; the template escapes and lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conceptbasis.evaluation.metrics import (
    MISSING,
    condition_figures,
    deltas,
    figures_of,
    format_delta,
    format_interval,
    format_number,
    grouped,
    interval,
    metrics_of,
    rate,
)
from conceptbasis.report.table import wanted_direction

_FORECAST = {
    "eligible_mass": "share of the code difference that is eligible",
    "r_heldout": "held-out correlation of the matches",
    "agreement": "projection agreement",
    "svcca": "SVCCA along the layer map",
    "svcca_null": "its shuffled null",
    "guard_overlap": "overlap with the guard",
    "proxy_success": "success of benign proxy transfers",
    "decline_effect": "effect of the edit on harmless declines",
}

_UNSCORED = ("mixed", "degenerate", "empty", "unfinished")


@dataclass(frozen=True)
class HtmlTable:
    """Cells of a table.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells; a row that is one string heads a group.
        text: Columns that hold words and may wrap.
        stack: Whether rows become small lists on a narrow screen, so that none of it is hidden.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str] | str]
    text: frozenset[int] = frozenset()
    stack: bool = False


def all_tables(
    summary: Mapping[str, Any], results: Mapping[str, Any], provenance: Mapping[str, Any]
) -> dict[str, HtmlTable | None]:
    """Every table of the report by name, None where there is nothing to show."""
    return {
        "before_after": _before_after(summary),
        "conditions": _conditions(summary),
        "judges": _judges(summary),
        "agreement": _agreement(summary.get("agreement_of_judges")),
        "curve": _curve(results.get("curve")),
        "guard": _guard(results.get("guard")),
        "forecast": _forecast(summary.get("forecast")),
        "ledger": _ledger(summary.get("ledger")),
        "stages": _stages(provenance),
        "versions": _versions(provenance),
        "hashes": _hashes(provenance),
    }


def _before_after(summary: Mapping[str, Any]) -> HtmlTable:
    before, after, native = (figures_of(summary, n) for n in ("baseline", "transfer", "native"))
    change = deltas(before, after)
    rows = []
    for metric in metrics_of([summary]):
        old, new = before.get(metric.key), after.get(metric.key)
        counts = [figure.n for figure in (new, old) if figure and figure.n is not None]
        rows.append(
            [
                metric.label,
                format_interval(old, metric.unit),
                format_interval(new, metric.unit),
                format_delta(change.get(metric.key), metric.unit),
                wanted_direction(metric, summary),
                format_interval(native.get(metric.key), metric.unit),
                str(counts[0]) if counts else MISSING,
            ]
        )
    head = ["", "before", "after", "delta", "wanted", "native", "n"]
    caption = "Target untouched, under the transfer, and under its own direction; 95 % intervals"
    return HtmlTable(caption, head, rows, stack=True)


def _conditions(summary: Mapping[str, Any]) -> HtmlTable:
    metrics = metrics_of([summary])
    rows: list[Sequence[str] | str] = []
    for group, members in grouped(summary["conditions"]):
        rows.append(group)
        for condition in members:
            figures = condition_figures(condition)
            cells = [format_interval(figures.get(m.key), m.unit) for m in metrics]
            draws = condition.get("draws")
            edited = condition.get("edited") or {}
            done = [f"{k} {v[0]}/{v[1]}" for k, v in edited.items() if v is not None]
            first = [condition["name"], MISSING if draws is None else str(draws)]
            rows.append([*first, *cells, ", ".join(done) or MISSING])
    head = ["condition", "draws", *(metric.label for metric in metrics), "edited"]
    return HtmlTable("All conditions, pooled over draws", head, rows, stack=True)


def _judges(summary: Mapping[str, Any]) -> HtmlTable:
    names = list(dict.fromkeys(j for c in summary["conditions"] for j in c.get("judges") or {}))
    rows = []
    for _, members in grouped(summary["conditions"]):
        for condition in members:
            judges = condition.get("judges") or {}
            cells = []
            for name in names:
                left = (judges.get(name) or {}).get("unscored")
                kinds = condition.get("answers") or {} if name == "phrases" else {}
                parts = [f"{n} {kind}" for kind, n in kinds.items() if n and kind in _UNSCORED]
                note = f", {left} unscored" if left else ""
                note += f" ({', '.join(parts)})" if parts else ""
                cells.append(format_interval(rate(judges.get(name))) + note)
            rows.append([condition["name"], *cells])
    return HtmlTable("Refusal by judge", ["condition", *names], rows, stack=True)


def _agreement(pairs: Sequence[Mapping[str, Any]] | None) -> HtmlTable | None:
    if not pairs:
        return None
    rows = []
    for pair in pairs:
        figures = [format_interval(interval(pair, "kappa")), format_number(pair["same"])]
        counts = [str(pair["n"]), str(pair["unscored"])]
        rows.append([" and ".join(pair["judges"]), *figures, *counts])
    head = ["judges", "kappa", "same verdict", "n", "unscored by one"]
    caption = "Agreement of judges on the untouched and the edited target's answers"
    return HtmlTable(caption, head, rows, stack=True)


def _guard(guard: Mapping[str, Any] | None) -> HtmlTable | None:
    if guard is None:
        return None
    perplexity = guard.get("perplexity") or {}
    rows = [["untouched", format_number(perplexity.get("baseline"), None)]]
    for share, value in (perplexity.get("by_share") or {}).items():
        used = guard.get("share") is not None and float(share) == guard["share"]
        rows.append([f"{share}{' (used)' if used else ''}", format_number(value, None)])
    within = {True: "within the bound", False: "above the bound"}.get(
        guard.get("within_bound"),  # type: ignore[arg-type]
        "bound not judged",
    )
    caption = f"Benign perplexity by guarded share of the width; {within}"
    return HtmlTable(caption, ["share", "perplexity"], rows)


def _forecast(forecast: Mapping[str, Any] | None) -> HtmlTable | None:
    if not forecast:
        return None
    rows = []
    for name, label in (_FORECAST | {k: k for k in forecast if k not in _FORECAST}).items():
        rows.append([label, format_interval(interval(forecast.get(name)))])
    return HtmlTable("Figures that need no refusal label of the target", ["", "value"], rows)


def forecast_lines(forecast: Mapping[str, Any] | None) -> list[str]:
    """The forecast's verdict in sentences."""
    if forecast is None:
        return []
    word = {True: "passed", False: "declined the transfer"}.get(
        forecast.get("passed"),  # type: ignore[arg-type]
        "gave no verdict",
    )
    lines = [f"The forecast {word}.", *(forecast.get("reasons") or [])]
    if forecast.get("covered_share") is not None:
        lines.append(
            f"{forecast['covered_share']:.0%} of the recipe's features fire in the transfer text."
        )
    for proxy in forecast.get("proxies") or []:
        lines.append(f"Proxy transfer {proxy['name']}: success {format_number(proxy['success'])}.")
    return lines


def _curve(curve: Mapping[str, Any] | None) -> HtmlTable | None:
    if not curve:
        return None
    rows = []
    for row in curve["methods"]:
        half = row["refusal_at_native_half"]
        at_perplexity = next(p for p in row["points"] if p["measure"] == "perplexity")
        rows.append(
            [
                row["method"],
                format_interval(interval(row["area"])),
                format_interval(interval(row["area_less_transfer"])),
                format_number(half),
                format_interval(rate(at_perplexity["refusal"])),
            ]
        )
    rise = f"{curve['perplexity_rise']:.0%}"
    head = ("method", "area", "less the transfer's", "where native is at half")
    return HtmlTable(
        "Area under the curve (the mean of refusal over the root of the KL; lower is better), and "
        f"refusal at equal damage; the last column where perplexity has risen by {rise}",
        (*head, f"refusal at +{rise} perplexity"),
        rows,
        stack=True,
    )


def _ledger(ledger: Sequence[Mapping[str, Any]] | None) -> HtmlTable | None:
    if not ledger:
        return None
    rows = [[str(e["class"]), _count(e.get("texts")), _count(e.get("sites"))] for e in ledger]
    return HtmlTable("Text by class before evaluation", ["class", "texts", "sites"], rows)


def _count(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def _stages(provenance: Mapping[str, Any]) -> HtmlTable | None:
    if not provenance:
        return None
    rows = [
        [name, f"{entry['seconds']:.1f}", str(entry["device"]), str(entry["seed"])]
        for name, entry in provenance.items()
    ]
    total = sum(entry["seconds"] for entry in provenance.values())
    rows.append(["all", f"{total:.1f}", "", ""])
    return HtmlTable("Seconds by stage", ["stage", "seconds", "device", "seed"], rows)


def _versions(provenance: Mapping[str, Any]) -> HtmlTable | None:
    found: dict[str, dict[str, None]] = {}  # an ordered set: a resumed run may have mixed versions
    for entry in provenance.values():
        for name, version in entry["versions"].items():
            found.setdefault(name, {})[version] = None
    if not found:
        return None
    rows = [[name, ", ".join(versions)] for name, versions in found.items()]
    return HtmlTable("Versions", ["package", "version"], rows)


def _hashes(provenance: Mapping[str, Any]) -> HtmlTable | None:
    rows: list[Sequence[str] | str] = []
    for name, entry in provenance.items():
        rows.append(name)
        for side in ("inputs", "outputs"):
            rows += [[f"{side[:-1]} {file}", hash_] for file, hash_ in entry[side].items()]
    return HtmlTable("SHA-256", ["file", "hash"], rows) if rows else None
