"""Tables of the report about single stages: curve, guard, forecast, routes, ledger, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from conceptbasis.behaviors.base import Words
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.report.artifacts import Provenance
from conceptbasis.report.table import Column, Group, Row, Table, columns, format_number
from conceptbasis.results.edit import Forecast, Guarded
from conceptbasis.results.evaluation import Curve, GroupRate, LengthRates
from conceptbasis.results.harvest import Shown
from conceptbasis.results.recipe import Transfer

if TYPE_CHECKING:
    from conceptbasis.interpret.safety import SafetyOverlap

_FORECAST = {
    "eligible_mass": "share of the code difference that is eligible",
    "r_heldout": "held-out correlation of the matches",
    "agreement": "projection agreement",
    "svcca": "SVCCA along the layer map",
    "svcca_null": "its shuffled null",
    "guard_overlap": "overlap with the guard",
    "proxy_success": "success of benign proxy transfers",
    "neighbour_effect": "effect of the edit on the benign neighbour of the behavior",
}


def curve_table(curve: Curve | None, words: Words) -> Table | None:
    """Area under the curve by method, and the rate at equal damage."""
    if curve is None:
        return None
    rows: list[Row] = []
    for row in curve.methods:
        (at,) = [p for p in row.points if p.measure == "perplexity"]
        figures = (row.area, row.area_less_transfer, row.rate_at_native_half)
        rows.append((row.method, *figures, at.figures.rate.interval))
    rise = f"{curve.perplexity_rise:.0%}"
    head = ("method", "area", "less the transfer's", "where native is at half")
    return Table(
        f"Area under the curve (the mean of {words.noun} over the root of the KL; lower is "
        f"better), and {words.noun} at equal damage; the last column where perplexity has risen "
        f"by {rise}",
        columns(*head, f"{words.noun} at +{rise} perplexity"),
        rows,
    )


def group_table(found: Sequence[GroupRate], words: Words) -> Table | None:
    """The rate by what prompts share: topic word, kind, wording; None where it is not known."""
    if not found:
        return None
    names = list(dict.fromkeys(row.condition for row in found))
    rates = {(r.prompts, r.shared, r.group, r.condition): r.rate.interval for r in found}
    body: list[Row | Group] = []
    for prompts, shared in dict.fromkeys((row.prompts, row.shared) for row in found):
        body.append(Group(f"{prompts} prompts by {shared}"))
        groups = [r.group for r in found if (r.prompts, r.shared) == (prompts, shared)]
        for group in dict.fromkeys(groups):
            cells = [rates[prompts, shared, group, name] for name in names]
            body.append((group, *cells, max((c.n for c in cells if c), default=None)))
    caption = f"{words.noun.capitalize()} by what prompts share, with 95 % intervals"
    note = (
        "Each interval is of its own row. Among many rows some stray by chance, so a row that "
        "stands apart is a question for more prompts and not an answer."
    )
    return Table(caption, columns("prompts that share", *names, "n"), body, note)


def guard_table(guard: Guarded | None) -> Table | None:
    """Benign perplexity by guarded share."""
    if guard is None:
        return None
    rows: list[Row] = [("untouched", guard.perplexity)]
    for share, value in guard.perplexity_by_share.items():
        rows.append((f"{share}{' (used)' if float(share) == guard.share else ''}", value))
    within = "within the bound" if guard.within_bound else "above the bound"
    caption = f"Benign perplexity by guarded share of the width; {within}"
    return Table(caption, columns("share", "perplexity", unit=None), rows, stack=False)


def safety_table(found: SafetyOverlap | None) -> Table | None:
    """The edit's overlap with the target's own way of saying no."""
    if found is None:
        return None
    rows: list[Row] = [(r.layer, r.cosine, r.null, r.p) for r in found.layers]
    head = [Column("layer"), Column("cosine", spec="+.2f"), Column("95 % of random directions")]
    return Table(safety_sentence(found), [*head, Column("p", spec=".4f")], rows, stack=False)


def safety_sentence(found: SafetyOverlap | None) -> str:
    """A warning, or that there is none, in one sentence."""
    if found is None:
        return (
            "Overlap with how the target says no: not measured, since the budget allows no polite "
            "answers that turn a request down."
        )
    most = max(found.layers, key=lambda row: abs(row.cosine))
    n_layers = len(found.layers)
    beside = f"cosine {most.cosine:+.2f} at layer {most.layer}, random directions {most.null:.2f}"
    if not found.significant:
        return f"No overlap with how the target says no: at most {beside}."
    return (
        f"The edit overlaps with how the target says no, at {len(found.significant)} of {n_layers} "
        f"layers: at most {beside}."
    )


def forecast_table(figures: Mapping[str, Interval | None], words: Words) -> Table | None:
    """The figures that were known before the edit."""
    if not figures:
        return None
    labels = _FORECAST | {name: name for name in figures if name not in _FORECAST}
    rows = [(label, figures.get(name)) for name, label in labels.items()]
    caption = f"Figures that need no {words.noun} label of the target"
    return Table(caption, columns("", "value"), rows, stack=False)


def forecast_lines(forecast: Forecast | None) -> list[str]:
    """What the forecast said, in sentences."""
    if forecast is None:
        return []
    word = "passed" if forecast.passed else "rejected the transfer"
    covered = f"{forecast.covered_share:.0%} of the recipe's latents fire in the transfer text."
    proxies = [
        f"Proxy transfer {p.name}: success {format_number(p.success)}." for p in forecast.proxies
    ]
    return [f"The forecast {word}.", *forecast.reasons, covered, *proxies]


def route_table(transfer: Transfer | None) -> Table | None:
    """Agreement of each route by target layer, on the sites that layers are chosen on."""
    if transfer is None or not transfer.layers:
        return None
    routes = list(transfer.layers[0].selection_by_route)
    rows: list[Row] = [
        (
            f"{row.target}{' (used at all layers)' if row.target == transfer.plan.shared else ''}",
            *(row.selection_by_route[route] for route in routes),
        )
        for row in transfer.layers
    ]
    caption = "Projection agreement by route, on the sites that routes and layers are chosen on"
    return Table(caption, columns("target layer", *routes), rows, stack=False)


def ledger_table(ledger: Sequence[Shown]) -> Table | None:
    """What the target was shown before the evaluation."""
    rows = [(entry.text_class.replace("_", " "), entry.texts, entry.sites) for entry in ledger]
    head, caption = columns("class", "texts", "sites"), "Text by class before evaluation"
    return Table(caption, head, rows, stack=False) if rows else None


def time_table(provenance: Mapping[str, Provenance]) -> Table | None:
    """Seconds by stage."""
    if not provenance:
        return None
    rows: list[Row] = [(n, p.seconds, p.device, str(p.seed)) for n, p in provenance.items()]
    rows.append(("all", sum(p.seconds for p in provenance.values()), "", ""))
    head = [Column("stage"), Column("seconds", spec=".1f"), Column("device"), Column("seed")]
    return Table("Seconds by stage", head, rows, stack=False)


def version_table(provenance: Mapping[str, Provenance]) -> Table | None:
    """Versions of libraries; a resumed run may have mixed ones."""
    found: dict[str, dict[str, None]] = {}  # an ordered set
    for entry in provenance.values():
        for name, version in entry.versions.items():
            found.setdefault(name, {})[version] = None
    rows = [(name, ", ".join(versions)) for name, versions in found.items()]
    return Table("Versions", columns("package", "version"), rows, stack=False) if rows else None


def hash_table(provenance: Mapping[str, Provenance]) -> Table | None:
    """Hashes of what stages read and wrote."""
    body: list[Row | Group] = []
    for name, entry in provenance.items():
        body.append(Group(name))
        body += [(f"input {file}", hash_) for file, hash_ in entry.inputs.items()]
        body += [(f"output {file}", hash_) for file, hash_ in entry.outputs.items()]
    return Table("SHA-256", columns("file", "hash"), body, stack=False) if body else None


def length_table(rows: Sequence[LengthRates], words: Words) -> Table | None:
    """The rate over the length of the answer; None where it was not measured."""
    if not rows:
        return None
    head = columns("condition", *(f"{n} tokens" for n in rows[0].n_tokens), words=("condition",))
    caption = f"{words.rate}, by length of the answer: prefixes of one generation"
    return Table(caption, head, [(r.condition, *(x.interval for x in r.rates)) for r in rows])
