"""What a reader must know beside the verdict: baselines that do as much, controls that moved.

They read the summary alone; no tensor library is imported.
"""

from __future__ import annotations

from collections.abc import Iterable

from conceptbasis.core.statistics.interval import Figure, Interval
from conceptbasis.evaluation.metrics import RunView, value_of, view_of
from conceptbasis.methods import catalog
from conceptbasis.report.table import format_interval, format_number
from conceptbasis.results.summary import Summary

_KL = "kl_first_token/mean"
_CLEAR = 0.05
"""By how much a control's interval must miss the untouched rate to be named."""


def baseline_sentences(summary: Summary) -> tuple[str, ...]:
    """Which baselines do as much as the transfer, at what damage, and what the recipe adds.

    A baseline does as much if its rate is no worse than the worse end of the transfer's interval.
    Nothing is said of a run without baselines.
    """
    run = view_of(summary)
    transfer = run.rate("transfer")
    rates = {name: f for name in catalog.of_role("baseline") if (f := run.rate(name)) is not None}
    if transfer is None or not rates:
        return ()
    equal = [name for name, figure in rates.items() if _as_good(run, figure, transfer)]
    if not equal:
        best = min(rates, key=lambda name: _badness(run, rates[name]))
        return (
            f"No baseline, which maps whole residuals and names no latents, does as much; the best "
            f"is {best} with {format_interval(rates[best])}.",
        )
    return (
        "Baselines that map whole residuals and name no latents do as much here: "
        f"{_listed(rates, equal)}.{_damage(run, equal)}",
        _what_is_added(summary),
    )


def control_sentences(summary: Summary) -> tuple[str, ...]:
    """What the verdict asks of controls, and which of them left the rate of the untouched target.

    A control has left it if its whole interval is further away than `_CLEAR`.
    """
    run = view_of(summary)
    rule = (
        "The verdict asks that the transfer's rate does not fall; controls do not enter it."
        if run.about.strengthens
        else "The verdict asks that the transfer's whole interval lies below that of every "
        "control; a control may leave the line itself."
    )
    untouched = run.rate("baseline")
    rates = {name: f for name in catalog.of_role("control") if (f := run.rate(name)) is not None}
    moved = [name for name, f in rates.items() if untouched is not None and _left(f, untouched)]
    aside = [part for part in summary.verdict.reason.split("; ") if "says nothing here" in part]
    return (
        rule,
        *([f"Here these did: {_listed(rates, moved)}."] if moved else []),
        *(f"{part[0].upper()}{part[1:]}; the verdict sets it aside." for part in aside),
    )


def _listed(rates: dict[str, Figure], names: Iterable[str]) -> str:
    return ", ".join(f"{name} {format_interval(rates[name])}" for name in names)


def _badness(run: RunView, figure: Figure) -> float:
    return -value_of(figure) if run.about.strengthens else value_of(figure)


def _as_good(run: RunView, figure: Figure, transfer: Figure) -> bool:
    if not isinstance(transfer, Interval):
        return _badness(run, figure) <= _badness(run, transfer)
    if run.about.strengthens:
        return value_of(figure) >= transfer.low
    return value_of(figure) <= transfer.high


def _left(figure: Figure, untouched: Figure) -> bool:
    if not isinstance(figure, Interval):
        return abs(value_of(figure) - value_of(untouched)) > _CLEAR
    low, high = figure.low - _CLEAR, figure.high + _CLEAR
    return not low <= value_of(untouched) <= high


def _damage(run: RunView, names: Iterable[str]) -> str:
    """First-token KL of the transfer and of baselines, where it was measured."""
    known = {n: run.of(n)[_KL] for n in ("transfer", *names) if _KL in run.of(n)}
    if "transfer" not in known or len(known) < 2:
        return ""
    each = ", ".join(f"{n} {format_number(value_of(f), None)}" for n, f in known.items())
    return f" First-token KL on negative prompts: {each}."


def _what_is_added(summary: Summary) -> str:
    donor, target = (
        _span(counts)
        for counts in (summary.recipe.n_atoms_per_layer, summary.recipe.n_target_atoms_per_layer)
    )
    return (
        "What the recipe adds is no lower rate but parts: the direction is a sum over "
        f"{donor} donor and {target} target latents a layer, each of which can be read, tested and "
        "left out."
    )


def _span(counts: tuple[int, ...]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low}" if low == high else f"{low} to {high}"
