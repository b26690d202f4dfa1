"""Tables of whole runs: before and after, all conditions, judges.

They read summaries, or what was logged of a run; no tensor library is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from conceptbasis.behaviors.base import Words
from conceptbasis.core.statistics.interval import Figure, Interval, Rate
from conceptbasis.core.statistics.prevalence import corrected_rate
from conceptbasis.evaluation.metrics import (
    Metric,
    RunView,
    condition_figures,
    metrics_of,
    value_of,
    view_of,
)
from conceptbasis.judges.base import JudgeError
from conceptbasis.methods import catalog
from conceptbasis.report.table import (
    Cell,
    Change,
    Group,
    In,
    Row,
    Table,
    columns,
    format_interval,
)
from conceptbasis.results.conditions import Condition
from conceptbasis.results.evaluation import Kappa
from conceptbasis.results.summary import Summary


def verdict_line(summary: Summary) -> str:
    """The verdict in one line: the word and its reason."""
    verdict = summary.verdict
    return f"{verdict.word}: {verdict.reason}" if verdict.reason else verdict.word


def change_of(run: RunView, metric: Metric) -> Change:
    """What the transfer changes of a figure, and whether that is as it should be."""
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
        rows.append((metric.label, old, new, change_of(run, metric), *more, n))
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
    errors = {name: JUDGES[name].error for name in names if name in JUDGES}
    known = {name: error for name, error in errors.items() if error is not None}
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
        (
            condition.name,
            *(cell(condition, judge) for judge in names),
            *(corrected(condition.figures.judges.get(n), error) for n, error in known.items()),
        )
        for _, members in in_groups(summary)
        for condition in members
    ]
    noun = view_of(summary).about.words.noun.capitalize()
    head = columns("condition", *names, *(f"{name}, corrected" for name in known))
    note = " ".join(_said_of(name, error) for name, error in known.items())
    return Table(f"{noun} by judge", head, rows, note)


def corrected(found: Rate | None, error: JudgeError) -> Interval | None:
    """A rate less the judge's own measured error; None where there is no rate."""
    if found is None or found.interval is None:
        return None
    n = found.interval.n
    shown = round(found.interval.value * n)
    return corrected_rate(shown, n, sensitivity=error.sensitivity, specificity=error.specificity)


def _said_of(name: str, error: JudgeError) -> str:
    right = [f"{k} of {n}" for k, n in (error.sensitivity, error.specificity)]
    return (
        f"Corrected: for the error of {name} on {error.measured_on}, where it reads {right[0]} "
        f"that show the behavior and {right[1]} that do not (Rogan and Gladen 1978; interval of "
        "Lang and Reiczigel 2014). It holds as far as it errs alike on these answers."
    )


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


def condition_rows(conditions: Sequence[Condition], words: Words) -> Table:
    """All figures of all conditions, one a row: the table `conditions` that is logged."""
    rows = []
    for condition in conditions:
        for key, figure in condition_figures(condition.figures, words).items():
            rows.append((condition.name, condition.figures.draws, key, *with_ends(figure)))
    return Table("", columns("condition", "draws", "metric", "value", "low", "high", "n"), rows)


def with_ends(figure: Figure | None) -> tuple[Cell, ...]:
    """Value, ends of its interval and n; the last three None where there is no interval."""
    if isinstance(figure, Interval):
        return figure.value, figure.low, figure.high, figure.n
    return figure, None, None, None
