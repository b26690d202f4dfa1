"""Tables of whole runs: before and after, all conditions, judges, and runs beside each other.

They read summaries, or what was logged of a run; no tensor library is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from conceptbasis.core.statistics.interval import Figure, Interval
from conceptbasis.evaluation.metrics import (
    Metric,
    RunView,
    condition_figures,
    metrics_of,
    share_of_native,
    value_of,
    view_of,
)
from conceptbasis.methods import catalog
from conceptbasis.report.table import (
    MISSING,
    Cell,
    Change,
    Column,
    Group,
    In,
    Row,
    Table,
    columns,
    format_interval,
    format_number,
    percent,
)
from conceptbasis.results.conditions import Condition
from conceptbasis.results.evaluation import Kappa
from conceptbasis.results.summary import Summary

_RUNS_PER_TABLE = 3  # more columns of runs do not fit 80 characters
_REFERENCES = {"untouched": "baseline", "native": "native", "random": "random_direction"}


def verdict_line(summary: Summary) -> str:
    """The verdict in one line: the word and its reason."""
    verdict = summary.verdict
    return f"{verdict.word}: {verdict.reason}" if verdict.reason else verdict.word


def _change(run: RunView, metric: Metric) -> Change:
    value = run.deltas.get(metric.key)
    change = Change(value, metric.unit)
    if value is None or str(change).endswith("="):
        return change
    good = (value < 0) == (metric.wanted_in(run.about) == "lower")
    return Change(value, metric.unit, good)


def before_after(summary: Summary, *, brief: bool = False) -> Table:
    """The untouched target, the target under the transfer, and the change of every figure.

    Args:
        summary: The run.
        brief: Whether it has to fit 80 columns, without what is wanted and the native direction.
    """
    run = view_of(summary)
    before, after, native = (run.of(name) for name in catalog.HEADLINE)
    rows: list[Row] = []
    for metric in metrics_of([run]):
        old, new, own = (In(f.get(metric.key), metric.unit) for f in (before, after, native))
        known = [f.n for f in (new.figure, old.figure) if isinstance(f, Interval)]
        n = known[0] if known else None
        more = () if brief else (metric.wanted_in(run.about), own)
        rows.append((metric.label, old, new, _change(run, metric), *more, n))
    more_names = () if brief else ("wanted", "native")
    about = run.about
    named = "" if any(summary.recipe.n_target_atoms_per_layer) else " (names no target latent)"
    names = f"{about.donor} → {about.target}, budget {about.budget}, route {about.route}{named}"
    full = "Target untouched, under the transfer, and under its own direction; 95 % intervals"
    head = columns("", "before", "after", "delta", *more_names, "n", words=("",))
    return Table(names if brief else full, head, rows, verdict_line(summary) if brief else "")


def conditions(summary: Summary) -> Table:
    """Every figure of every condition, grouped by what conditions are there to show."""
    run = view_of(summary)
    metrics = metrics_of([run])

    def row(condition: Condition) -> Row:
        found = run.of(condition.name)
        done = [f"{k} {n}/{of}" for k, (n, of) in condition.figures.edited.items()]
        cells = [In(found.get(m.key), m.unit) for m in metrics]
        return (condition.name, condition.figures.draws, *cells, ", ".join(done) or None)

    head = columns("condition", "draws", *(m.label for m in metrics), "edited")
    return Table("All conditions, pooled over draws", head, _grouped(summary, row))


def conditions_in_brief(summary: Summary) -> Table:
    """Every condition in 80 columns: the rate, the worst spillover, what is kept of the rest."""
    run = view_of(summary)
    words = run.about.words
    keys = {m.key: m.label for m in metrics_of([run])}
    over = {key: label for key, label in keys.items() if _is(key, words.spillover_key)}
    tasks = {key: label for key, label in keys.items() if _is(key, "capability")}

    def row(condition: Condition) -> Row:
        found = run.of(condition.name)
        spilled = [value_of(found[key]) for key in over if key in found]
        kept = [found.get(key) for key in (words.recovered_key, *tasks)]
        values = [None if figure is None else value_of(figure) for figure in kept]
        cells = [max(spilled, default=None), *values, In(found.get("perplexity"), None)]
        return (f"  {name_with_draws(condition)}", found.get(words.rate_key), *cells)

    short = (label.split()[0][:6] for label in tasks.values())
    head = columns("condition", words.noun, "over", "recov", *short, "ppl", words=("condition",))
    sets = ", ".join(key.partition("/")[2] for key in over)
    note = f"over: {words.spillover}, the worst of {sets}; recov: {words.recovered}"
    caption = f"{words.noun} by {summary.primary_judge}, {summary.max_new_tokens} tokens"
    return Table(caption, head, _grouped(summary, row), note)


def _is(key: str, root: str) -> bool:
    return key.startswith(f"{root}/")


def name_with_draws(condition: Condition) -> str:
    """A condition's name, with the number of draws where there are several."""
    draws = condition.figures.draws
    return condition.name + (f" ×{draws}" if draws > 1 else "")


def in_groups(summary: Summary) -> list[tuple[str, list[Condition]]]:
    """Conditions by group in the order of display; those of no group come last."""
    by_name = {c.name: c for c in summary.conditions}
    return [(group, [by_name[n] for n in names]) for group, names in catalog.grouped(by_name)]


def _grouped(summary: Summary, row: Callable[[Condition], Row]) -> list[Row | Group]:
    found: list[Row | Group] = []
    for group, members in in_groups(summary):
        found += [Group(group), *(row(condition) for condition in members)]
    return found


def judges(summary: Summary) -> Table:
    """The behavior's rate by judge, with answers that one could not score."""
    from conceptbasis.judges import JUDGES  # whose patterns take long to compile

    names = list(dict.fromkeys(j for c in summary.conditions for j in c.figures.judges))
    primary = JUDGES.get(summary.primary_judge or "")
    silent = [kind for kind, verdict in primary.kinds.items() if verdict is None] if primary else []

    def cell(condition: Condition, judge: str) -> Cell:
        found = condition.figures.judges.get(judge)
        if found is None:
            return None
        counts = condition.figures.answers if judge == summary.primary_judge else {}
        parts = [f"{n} {kind}" for kind, n in counts.items() if n and kind in silent]
        note = f", {found.unscored} unscored" if found.unscored else ""
        note += f" ({', '.join(parts)})" if parts else ""
        return format_interval(found.interval) + note

    rows = [
        (condition.name, *(cell(condition, judge) for judge in names))
        for _, members in in_groups(summary)
        for condition in members
    ]
    noun = view_of(summary).about.words.noun.capitalize()
    return Table(f"{noun} by judge", columns("condition", *names), rows)


def agreement(pairs: Sequence[Kappa]) -> Table | None:
    """How often two judges say the same; None without two judges."""
    rows = [
        (
            " and ".join(pair.judges),
            None
            if pair.kappa is None or pair.low is None or pair.high is None
            else Interval(pair.kappa, pair.low, pair.high, pair.n),
            pair.same,
            pair.n,
            pair.unscored,
        )
        for pair in pairs
    ]
    head = columns("judges", "kappa", "same verdict", "n", "unscored by one")
    caption = "Agreement of judges on the untouched and the edited target's answers"
    return Table(caption, head, rows) if rows else None


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
    body += [(f"Δ {m.label}", *(_change(run, m) for run in views)) for m in metrics]
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
        (name, run.about.donor, run.about.target, condition, key, *_with_ends(figure))
        for name, run in runs.items()
        for condition, figures in run.conditions.items()
        for key, figure in figures.items()
    ]
    names = ("run", "donor", "target", "condition", "metric", "value", "low", "high", "n")
    return Table("", columns(*names), rows)


def _with_ends(figure: Figure) -> tuple[Cell, ...]:
    """Value, ends of its interval and n; the last three None where there is no interval."""
    if isinstance(figure, Interval):
        return figure.value, figure.low, figure.high, figure.n
    return figure, None, None, None


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


def condition_rows(summary: Summary) -> Table:
    """All figures of all conditions, one a row: the table `conditions` that is logged."""
    words = view_of(summary).about.words
    rows = []
    for condition in summary.conditions:
        for key, figure in condition_figures(condition.figures, words).items():
            rows.append((condition.name, condition.figures.draws, key, *_with_ends(figure)))
    return Table("", columns("condition", "draws", "metric", "value", "low", "high", "n"), rows)
