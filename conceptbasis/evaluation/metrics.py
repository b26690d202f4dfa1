"""The figures of a condition under one name each, for tables, the report and wandb alike.

A run is seen through a `RunView`, which a summary gives and what was logged of a run gives too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from conceptbasis.behaviors import find_behavior
from conceptbasis.behaviors.base import Behavior, Words
from conceptbasis.core.statistics.interval import Figure, Interval
from conceptbasis.methods import catalog
from conceptbasis.results.conditions import ConditionFigures
from conceptbasis.results.summary import Summary, Verdict

Figures: TypeAlias = Mapping[str, Figure]
"""Figures by metric key; one that does not exist is left out."""

BOUNDS = ("low", "high", "n")


@dataclass(frozen=True)
class Metric:
    """Name, label and wanted direction of a figure.

    Args:
        key: Its name in every table and in wandb.
        label: What a reader sees.
        wanted: Where it goes when a removal of the behavior succeeds.
        unit: Largest value that makes sense (1 for shares), or None.
        turns: Whether a run that strengthens the behavior wants the opposite.
    """

    key: str
    label: str
    wanted: Literal["lower", "higher"] = "lower"
    unit: float | None = 1.0
    turns: bool = False

    def wanted_in(self, about: About) -> str:
        """Where the figure should go in a run."""
        if self.turns and about.strengthens:
            return "higher" if self.wanted == "lower" else "lower"
        return self.wanted


@dataclass(frozen=True)
class About:
    """What a run was, for those who compare runs without their folders.

    Args:
        behavior: Name of the behavior.
        donor: Name of the donor.
        target: Name of the target.
        budget: What the target was allowed to be shown.
        route: How the recipe reached the target.
        mode: Form of the edit.
        scope: `stream` or `writers`.
        gamma: Its strength, None where it was not found.
        layers: The edited layers.
        max_new_tokens: Longest answer.
        verdict: One word with its reason.
    """

    behavior: str
    donor: str
    target: str
    budget: str
    route: str
    mode: str
    scope: str
    gamma: float | None
    layers: tuple[int, ...]
    max_new_tokens: int
    verdict: Verdict

    @property
    def words(self) -> Words:
        """What a reader sees of the behavior."""
        return find_behavior(self.behavior).words

    @property
    def strengthens(self) -> bool:
        """Whether the run is meant to raise the rate of the behavior."""
        return self.mode == "raise" or (self.gamma is not None and self.gamma < 0)


@dataclass(frozen=True)
class RunView:
    """A run as tables of runs see it.

    Args:
        about: What it was.
        conditions: Figures by condition.
        areas: Area under the curve by method, where it was measured.
    """

    about: About
    conditions: Mapping[str, Figures]
    areas: Mapping[str, float] = field(default_factory=dict)

    def of(self, condition: str) -> Figures:
        """The figures of a condition; empty if the run does not have it."""
        return self.conditions.get(condition, {})

    def rate(self, condition: str) -> Figure | None:
        """The behavior's rate under a condition."""
        return self.of(condition).get(self.about.words.rate_key)

    @property
    def deltas(self) -> dict[str, float]:
        """What the transfer changes of every figure that was measured without it too."""
        before, after = self.of("baseline"), self.of("transfer")
        return {k: value_of(v) - value_of(before[k]) for k, v in after.items() if k in before}


def value_of(figure: Figure) -> float:
    """The number itself."""
    return figure.value if isinstance(figure, Interval) else figure


def view_of(summary: Summary) -> RunView:
    """A run from its summary."""
    about = About(
        summary.behavior,
        summary.donor.name,
        summary.target.name,
        summary.budget,
        summary.route,
        summary.mode,
        summary.scope,
        summary.gamma,
        summary.plan.layers,
        summary.max_new_tokens,
        summary.verdict,
    )
    figures = {c.name: condition_figures(c.figures, about.words) for c in summary.conditions}
    methods = summary.curve.methods if summary.curve else {}
    areas = {name: entry.area.value for name, entry in methods.items() if entry.area}
    return RunView(about, figures, areas)


def condition_figures(found: ConditionFigures, words: Words) -> dict[str, Figure]:
    """All figures of one condition, by metric key."""
    figures: dict[str, Figure | None] = {words.rate_key: found.rate.interval}
    for name, rate in found.spillover.items():
        figures[f"{words.spillover_key}/{name}"] = rate.interval if rate else None
    figures[words.recovered_key] = found.recovered
    figures |= {f"capability/{task}": entry for task, entry in found.capability.items()}
    figures |= {
        "perplexity": found.perplexity,
        "kl_first_token/mean": found.kl_first_token.mean,
        "kl_first_token/p95": found.kl_first_token.p95,
        "kl_answer/mean": found.kl_answer.mean,
    }
    return {key: figure for key, figure in figures.items() if figure is not None}


def metrics_of(runs: Iterable[RunView]) -> list[Metric]:
    """The metrics of the runs' behaviors, and the capability tasks that these runs have."""
    found: dict[str, Metric] = {}
    for run in runs:
        tasks = [
            key.partition("/")[2]
            for figures in run.conditions.values()
            for key in figures
            if key.startswith("capability/")
        ]
        found |= {m.key: m for m in _metrics(find_behavior(run.about.behavior), tasks)}
    tail = [found.pop(m.key) for m in _DAMAGE if m.key in found]
    return [*found.values(), *tail]


_DAMAGE = (
    Metric("perplexity", "perplexity", unit=None),
    Metric("kl_first_token/mean", "first-token KL, mean", unit=None),
    Metric("kl_first_token/p95", "first-token KL, p95", unit=None),
    Metric("kl_answer/mean", "KL over the answer, mean", unit=None),
)


def _metrics(behavior: Behavior, more_tasks: Iterable[str]) -> list[Metric]:
    words = behavior.words
    tasks = dict.fromkeys([*behavior.sets.capability, *more_tasks])
    return [
        Metric(words.rate_key, words.rate, turns=True),
        *(
            Metric(f"{words.spillover_key}/{name}", f"{words.spillover}, {name}")
            for name in behavior.sets.spillover
        ),
        Metric(words.recovered_key, words.recovered, "higher", turns=True),
        *(Metric(f"capability/{name}", name.replace("_", " "), "higher") for name in tasks),
        *_DAMAGE,
    ]


def share_of_native(run: RunView, condition: str = "transfer") -> float | None:
    """The fall of the rate as a share of the fall under the target's own direction.

    Without a single native direction, the per-layer ones stand in for it.
    """
    own = run.rate("native") or run.rate("native_per_layer")
    start, end = run.rate("baseline"), run.rate(condition)
    if start is None or end is None or own is None or value_of(start) == value_of(own):
        return None
    return (value_of(start) - value_of(end)) / (value_of(start) - value_of(own))


Scalar = str | float | int | bool | None
"""What wandb keeps of a figure."""


def flat_figures(summary: Summary) -> dict[str, Scalar]:
    """The figures of a run by flat names, as they are logged."""
    view, compared = view_of(summary), catalog.compared()
    flat: dict[str, Scalar] = {
        "verdict": summary.verdict.word,
        "verdict_reason": summary.verdict.reason,
    }
    for name, figures in view.conditions.items():
        for key, figure in figures.items():
            flat[f"conditions/{name}/{key}"] = value_of(figure)
            if isinstance(figure, Interval) and name in compared:
                flat |= {f"conditions/{name}/{key}/{k}": getattr(figure, k) for k in BOUNDS}
    flat |= {f"transfer/{k}": value_of(figure) for k, figure in view.of("transfer").items()}
    flat |= {f"delta/{k}": change for k, change in view.deltas.items()}
    return flat | {f"forecast/{k}": f.value for k, f in summary.forecast.items() if f}


def unflatten(about: About, flat: Mapping[str, Any]) -> RunView:
    """A run from what was logged of it: its description, and `flat_figures`."""
    conditions: dict[str, dict[str, Figure]] = {}
    for key, value in flat.items():
        root, _, rest = key.partition("/")
        name, _, metric = rest.partition("/")
        if root == "conditions" and metric and metric.rpartition("/")[2] not in BOUNDS:
            ends = {bound: flat.get(f"{key}/{bound}") for bound in BOUNDS}
            known = None not in ends.values()
            figure: Any = Interval(**{"value": value, **ends}) if known else value
            conditions.setdefault(name, {})[metric] = figure
    return RunView(about, conditions)
