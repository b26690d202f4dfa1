"""Keys and values of older configuration files: each is refused with the name that it has now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

RENAMED: Mapping[str, str | None] = {
    "transfer.basis": "transfer.route",
    "transfer.strengths": "transfer.ridges",
    "direction.min_refusal": "direction.min_rate",
    "forecast.min_decline_effect": "forecast.min_neighbour_effect",
    "fit.method": None,
    "evaluate.judge.refusal": "evaluate.judge.positive",
    "evaluate.judge.answer": "evaluate.judge.negative",
    "lines": "flows",
    "lines.n_lines": "flows.n_flows",
}
"""Key by old key; None is a key that is gone."""

RENAMED_VALUES: Mapping[tuple[str, str], str] = {
    ("replay.directions", "trajectory"): "per_layer",
}
"""Value by key and old value."""


def old_names(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What is out of date in a configuration, one sentence a key."""
    for key, value in values.items():
        name = f"{path}.{key}" if path else str(key)
        if name in RENAMED:
            new = RENAMED[name]
            yield f"{name!r} is called {new!r} now" if new else f"{name!r} is gone: leave it out"
        if isinstance(value, str) and (name, value) in RENAMED_VALUES:
            yield f"{name}: {value!r} is called {RENAMED_VALUES[name, value]!r} now"
        if isinstance(value, Mapping):
            yield from old_names(value, name)
