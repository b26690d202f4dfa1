"""The figures of a condition under one name each, for tables, the report and wandb alike.

A figure is an `Interval`: a value with what is known about its uncertainty. Rates (`rate`),
capability (`value`) and the first-token KL (`mean`) of `summary.json` all become intervals, so that
a reader never has to know which of the three it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "–"
"""What stands where a figure does not exist."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Untouched and native": (
        "baseline",
        "native",
        "native_trajectory",
        "native_early",
        "native_far",
    ),
    "Transfer": ("transfer",),
    "Bases and ablations": (
        "transported",
        "matched",
        "early_layers_only",
        "last_layer_only",
        "trajectory",
        "trajectory_early",
        "single_direction",
        "single_direction_early",
        "no_guard",
        "sae_error_only",
    ),
    "Baselines": (
        "least_squares",
        "affine",
        "relu_map",
        "procrustes",
        "contrast_ridge",
        "contrast_ridge_stream",
    ),
    "Controls that must fail": (
        "random_direction",
        "shuffled_atoms",
        "far_layers",
        "unrelated_recipe",
    ),
}
"""Conditions of a summary by what they are there to show, in the order of display."""

OTHER_GROUP = "Other conditions"


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval and number of items, where they are known."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Metric:
    """Name, label and wanted direction of a figure.

    Args:
        key: Its name in every table and in wandb.
        label: What a reader sees.
        wanted: `lower` or `higher`: where the figure goes when a removal of refusal succeeds.
        unit: Largest value that makes sense (1 for shares), or None.
    """

    key: str
    label: str
    wanted: str
    unit: float | None = 1.0


METRICS: tuple[Metric, ...] = (
    Metric("refusal", "refusal, harmful", "lower"),
    Metric("over_refusal/safe", "over-refusal, safe", "lower"),
    Metric("over_refusal/mentions", "over-refusal, mentions", "lower"),
    Metric("over_refusal/declines", "over-refusal, declines", "lower"),
    Metric("recovered_compliance", "recovered compliance", "higher"),
    Metric("capability/benign_exact_match", "benign exact match", "higher"),
    Metric("capability/arithmetic", "arithmetic", "higher"),
    Metric("perplexity", "perplexity", "lower", None),
    Metric("kl_first_token/mean", "first-token KL, mean", "lower", None),
    Metric("kl_first_token/p95", "first-token KL, p95", "lower", None),
    Metric("kl_answer/mean", "KL over the answer, mean", "lower", None),
)
"""The figures that every summary has; further capability tasks are added by `metrics_of`."""


def interval(entry: Mapping[str, Any] | None, key: str = "value") -> Interval | None:
    """Reads `{key, low, high, n}`; an entry or a value that is null gives None."""
    if entry is None or entry.get(key) is None:
        return None
    return Interval(entry[key], entry.get("low"), entry.get("high"), entry.get("n"))


def rate(entry: Mapping[str, Any] | None) -> Interval | None:
    """Reads a rate, `{rate, low, high, n}`, or a share written as `{value, low, high, n}`."""
    if entry is None:
        return None
    return interval(entry, "rate" if "rate" in entry else "value")


def condition_figures(condition: Mapping[str, Any]) -> dict[str, Interval | None]:
    """All figures of one condition of a summary, by metric key."""
    over = condition.get("over_refusal") or {}
    divergence = condition.get("kl_first_token") or {}
    found = {"refusal": rate(condition.get("refusal"))}
    found |= {f"over_refusal/{k}": rate(over.get(k)) for k in ("safe", "mentions", "declines")}
    found["recovered_compliance"] = rate(condition.get("recovered_compliance"))
    capability = {"benign_exact_match": None, "arithmetic": None}
    capability |= condition.get("capability") or {}
    found |= {f"capability/{name}": rate(entry) for name, entry in capability.items()}
    perplexity = condition.get("perplexity")
    found["perplexity"] = None if perplexity is None else Interval(perplexity)
    found["kl_first_token/mean"] = interval(divergence, "mean")
    p95 = divergence.get("p95")
    found["kl_first_token/p95"] = None if p95 is None else Interval(p95, n=divergence.get("n"))
    found["kl_answer/mean"] = interval(condition.get("kl_answer"), "mean")
    return found


def metrics_of(summaries: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """`METRICS`, plus the capability tasks that only these summaries have."""
    known = {metric.key for metric in METRICS}
    extra: dict[str, Metric] = {}
    for summary in summaries:
        for condition in summary["conditions"]:
            for task in condition.get("capability") or {}:
                key = f"capability/{task}"
                if key not in known:
                    extra[key] = Metric(key, task.replace("_", " "), "higher")
    return [*METRICS, *extra.values()]


def find_condition(summary: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The condition of that name, or None if the run does not have it."""
    return next((c for c in summary["conditions"] if c["name"] == name), None)


def figures_of(summary: Mapping[str, Any], name: str) -> dict[str, Interval | None]:
    """The figures of a condition by name; empty if the run does not have it."""
    condition = find_condition(summary, name)
    return {} if condition is None else condition_figures(condition)


def deltas(
    before: Mapping[str, Interval | None], after: Mapping[str, Interval | None]
) -> dict[str, float | None]:
    """after − before for every metric, None where either is missing."""
    changes: dict[str, float | None] = {}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        changes[key] = None if old is None or new is None else new.value - old.value
    return changes


def grouped(conditions: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Conditions by group in the order of display; those of no group come last, never dropped."""
    by_name = {condition["name"]: condition for condition in conditions}
    groups = []
    for group, names in GROUPS.items():
        members = [by_name.pop(name) for name in names if name in by_name]
        if members:
            groups.append((group, members))
    if by_name:
        groups.append((OTHER_GROUP, list(by_name.values())))
    return groups


TABLE_COLUMNS = ("condition", "draws", "metric", "value", "low", "high", "n")
"""Columns of `condition_rows`."""


def condition_rows(summary: Mapping[str, Any]) -> list[list[Any]]:
    """Rows of the conditions table: condition, draws, metric, value, low, high, n."""
    rows = []
    for condition in summary["conditions"]:
        for key, figure in condition_figures(condition).items():
            if figure is not None:
                span = [figure.value, figure.low, figure.high, figure.n]
                rows.append([condition["name"], condition.get("draws"), key, *span])
    return rows


COMPARED = ("baseline", "transfer", "native", "random_direction")
"""Conditions whose intervals a comparison of runs shows."""

_ABOUT = (
    "budget",
    "basis",
    "mode",
    "scope",
    "gamma",
    "layer_map",
    "single_layer",
    "max_new_tokens",
    "verdict",
)


def about(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was, for those who compare runs without their folders."""
    names = {side: {"name": summary[side]["name"]} for side in ("donor", "target")}
    return {key: summary.get(key) for key in _ABOUT} | names


def unflatten(about_run: Mapping[str, Any], flat: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a summary that comparisons read, from what was logged of it.

    Args:
        about_run: As `about` gives it.
        flat: As `flat_figures` gives it.
    """
    conditions: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        root, _, rest = key.partition("/")
        name, _, metric = rest.partition("/")
        if root == "conditions" and metric:
            conditions.setdefault(name, {})[metric] = value
    return {
        **about_run,
        "conditions": [_condition(name, found) for name, found in conditions.items()],
    }


def _condition(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    def entry(metric: str) -> dict[str, Any] | None:
        if metric not in found:
            return None
        return {"value": found[metric]} | {k: found.get(f"{metric}/{k}") for k in _BOUNDS}

    tasks = {key.split("/")[1] for key in found if key.startswith("capability/")}
    return {
        "name": name,
        "refusal": entry("refusal"),
        "over_refusal": {k: entry(f"over_refusal/{k}") for k in ("safe", "mentions", "declines")},
        "recovered_compliance": entry("recovered_compliance"),
        "capability": {task: entry(f"capability/{task}") for task in sorted(tasks)},
        "perplexity": found.get("perplexity"),
        "kl_first_token": {k: found.get(f"kl_first_token/{k}") for k in ("mean", "p95")}
        | {k: found.get(f"kl_first_token/mean/{k}") for k in _BOUNDS},
        "kl_answer": {"mean": found.get("kl_answer/mean")}
        | {k: found.get(f"kl_answer/mean/{k}") for k in _BOUNDS},
    }


_BOUNDS = ("low", "high", "n")


def flat_figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run by flat names; figures that do not exist are left out."""
    figures: dict[str, Any] = {
        "verdict": summary["verdict"]["word"],
        "verdict_reason": summary["verdict"]["reason"],
    }
    for condition in summary["conditions"]:
        for key, figure in condition_figures(condition).items():
            if figure is not None:
                name = f"conditions/{condition['name']}/{key}"
                figures[name] = figure.value
                bounds = {f"{name}/{k}": getattr(figure, k) for k in _BOUNDS}
                if condition["name"] in COMPARED:
                    figures |= {k: bound for k, bound in bounds.items() if bound is not None}
    before, after = figures_of(summary, "baseline"), figures_of(summary, "transfer")
    figures |= {f"transfer/{k}": figure.value for k, figure in after.items() if figure}
    figures |= {f"delta/{k}": d for k, d in deltas(before, after).items() if d is not None}
    for name, entry in (summary.get("forecast") or {}).items():
        if entry is not None and entry.get("value") is not None:
            figures[f"forecast/{name}"] = entry["value"]
    return figures


def wants_removal(summary: Mapping[str, Any]) -> bool:
    """Whether the run is meant to lower refusal; a negative γ strengthens it."""
    if summary.get("mode") == "raise":
        return False
    return summary.get("gamma") is None or summary["gamma"] >= 0


def format_number(value: float | None, unit: float | None = 1.0) -> str:
    """A figure in at most seven characters, or a dash."""
    if value is None:
        return MISSING
    if unit is not None or abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.2g}"


def format_interval(figure: Interval | None, unit: float | None = 1.0) -> str:
    """`0.98 [0.96, 0.99]`, without the brackets where there is no interval."""
    if figure is None:
        return MISSING
    value = format_number(figure.value, unit)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{format_number(figure.low, unit)}, {format_number(figure.high, unit)}]"


def format_delta(change: float | None, unit: float | None = 1.0) -> str:
    """A signed change with an arrow for its direction, or a dash."""
    if change is None:
        return MISSING
    size = format_number(abs(change), unit)
    if float(size) == 0:
        return f"{size} ="
    return f"+{size} ↑" if change > 0 else f"−{size} ↓"
