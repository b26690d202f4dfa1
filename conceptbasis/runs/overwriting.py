"""A finished run is not overwritten by one with other settings unless that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from conceptbasis.errors import ConfigError
from conceptbasis.runs.files import CONFIG, read_json
from conceptbasis.runs.summary import SUMMARY

_RESULTS_STAY = (
    "run.tracking",
    "run.device",
    "run.n_workers",
    "run.executor",
    "run.ray_address",
    "run.forecast.force",
)
"""Settings under which a run stays what it is."""
_N_NAMED = 3


def require_same_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuses a folder that holds a finished run with other settings.

    A run that was interrupted, or that its forecast rejected, is not finished. Settings that an
    older version did not know are not compared.

    Args:
        folder: The run folder.
        settings: Those of `donor`, `target` and `run`, as they would be written.

    Raises:
        ConfigError: with the settings that differ.
    """
    if not (folder / SUMMARY).exists() or not (folder / CONFIG).exists():
        return
    verdict = read_json(folder / SUMMARY, ("verdict",))["verdict"]
    if isinstance(verdict, dict) and verdict.get("word") == "rejected":
        return
    before = dict(_flat(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")) or {}))
    now = dict(_flat(settings))
    differ = [
        f"{key}: {before[key]} there, {now[key]} here"
        for key in now
        if key in before and before[key] != now[key] and not key.startswith(_RESULTS_STAY)
    ]
    if differ:
        more = f"; and {len(differ) - _N_NAMED} more" if len(differ) > _N_NAMED else ""
        raise ConfigError(
            f"{folder} holds a finished run with other settings ({'; '.join(differ[:_N_NAMED])}"
            f"{more})",
            expected="a new folder, the settings of that run, or a run that was interrupted",
            fix="give another --out, or --overwrite to run again there; what does not depend on "
            "these settings is reused",
        )


def what_results_depend_on(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, flat, without those under which it stays what it is.

    Args:
        settings: Those of `donor`, `target` and `run`, as they would be written.
    """
    return {k: v for k, v in _flat(settings) if not k.startswith(_RESULTS_STAY)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
