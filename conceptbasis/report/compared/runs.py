"""Tables of several runs beside each other, for readers and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from conceptbasis.core.statistics.interval import Figure
from conceptbasis.evaluation.metrics import (
    Metric,
    RunView,
    metrics_of,
    share_of_native,
    value_of,
)
from conceptbasis.methods import catalog
from conceptbasis.report.run_tables import change_of, with_ends
from conceptbasis.report.table import (
    MISSING,
    Cell,
    Column,
    Group,
    In,
    Row,
    Table,
    columns,
    format_number,
    percent,
)

_RUNS_PER_TABLE = 3  # more columns of runs do not fit 80 characters
_REFERENCES = {"untouched": "baseline", "native": "native", "random": "random_direction"}


def compare(runs: Mapping[str, RunView]) -> list[Table]:
    """Runs side by side: what they were, rates under four conditions, figures of the transfer.

    Args:
        runs: By name; three of them share a table of 80 columns.
    """
    names, metrics = list(runs), metrics_of(runs.values())
    parts = [names[i : i + _RUNS_PER_TABLE] for i in range(0, len(names), _RUNS_PER_TABLE)]
    return [_compare({name: runs[name] for name in part}, metrics) for part in parts]


def _compare(runs: Mapping[str, RunView], metrics: Sequence[Metric]) -> Table:
    views = list(runs.values())
    nouns = " / ".join(dict.fromkeys(run.about.words.noun for run in views))
    body: list[Row | Group] = list(_facts(views))
    body.append(Group())
    body += [
        (f"{nouns}, {label}", *(run.rate(condition) for run in views))
        for label, condition in _REFERENCES.items()
    ]
    body.append(Group())
    body += [
        (m.label, *(In(run.of("transfer").get(m.key), m.unit) for run in views)) for m in metrics
    ]
    body.append(Group())
    body += [(f"Δ {m.label}", *(change_of(run, m) for run in views)) for m in metrics]
    return Table("", [Column("", words=True), *(Column(name) for name in runs)], body)


def _facts(views: Iterable[RunView]) -> list[Row]:
    """What the runs were; what differs between them comes first."""
    about = [run.about for run in views]
    facts: list[Row] = [
        ("donor", *(a.donor for a in about)),
        ("target", *(a.target for a in about)),
        ("verdict", *(a.verdict.word for a in about)),
        ("budget", *(a.budget for a in about)),
        ("route", *(a.route for a in about)),
        ("edit", *(f"{a.mode}, {a.scope}" for a in about)),
        ("layers edited", *(len(a.layers) for a in about)),
        ("answer tokens", *(a.max_new_tokens for a in about)),
    ]
    return sorted(facts, key=lambda row: len(set(row[1:])) == 1)


def tidy(runs: Mapping[str, RunView]) -> Table:
    """Every figure of every condition of every run, one a row, for programs."""
    rows = [
        (name, run.about.donor, run.about.target, condition, key, *with_ends(figure))
        for name, run in runs.items()
        for condition, figures in run.conditions.items()
        for key, figure in figures.items()
    ]
    names = ("run", "donor", "target", "condition", "metric", "value", "low", "high", "n")
    return Table("", columns(*names), rows)


def overview(runs: Mapping[str, RunView]) -> Table:
    """A row per run, for many pairs: rates, their share of native's reduction, what it costs."""
    names = ["run", "untouched", *catalog.HEADLINE[1:], "share", "recovered", "early"]
    names += ["its recovered", "early native", "per layer", "its recovered", "benign KL", "p95"]
    names += ["best baseline", "lowest control", "area", "best baseline's", "verdict"]
    return Table("", columns(*names), [(name, *_overview(run)) for name, run in runs.items()])


def _overview(run: RunView) -> list[Cell]:
    after = run.of("transfer")
    return [
        *(run.rate(name) for name in catalog.HEADLINE),
        percent(share_of_native(run)),
        _recovered(run, "transfer"),
        run.rate("early_layers_only"),
        _recovered(run, "early_layers_only"),
        run.rate("native_early"),
        run.rate("per_layer"),
        _recovered(run, "per_layer"),
        *(_three(after.get(f"kl_first_token/{key}")) for key in ("mean", "p95")),
        _lowest(run, catalog.of_role("baseline")),
        _lowest(run, catalog.of_role("control")),
        *_areas(run),
        run.about.verdict.word,
    ]


def _recovered(run: RunView, condition: str) -> Cell:
    """What is recovered, and its share of what the native direction recovers."""
    key = run.about.words.recovered_key
    ours, own = run.of(condition).get(key), run.of("native").get(key)
    if ours is None or own is None:
        return None
    share = percent(value_of(ours) / value_of(own)) if value_of(own) else MISSING
    return f"{format_number(value_of(ours))} ({share})"


def _lowest(run: RunView, names: Iterable[str]) -> Cell:
    """The condition among some that leaves the lowest rate."""
    found = [(value_of(f), name) for name in names if (f := run.rate(name)) is not None]
    return "{:.2f} {}".format(*min(found)) if found else None


def _areas(run: RunView) -> list[Cell]:
    """Area under the curve, of the transfer and of the best baseline."""
    areas = run.areas
    rivals = [(areas[name], name) for name in catalog.of_role("baseline") if name in areas]
    own = f"{areas['transfer']:.3f}" if "transfer" in areas else None
    return [own, "{:.3f} {}".format(*min(rivals)) if rivals else None]


def _three(figure: Figure | None) -> Cell:
    return None if figure is None else f"{value_of(figure):.3f}"
