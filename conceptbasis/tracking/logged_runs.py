"""Finished transfers as wandb has them, read through its public API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conceptbasis.errors import ArtifactError, ConceptBasisError, ConfigError
from conceptbasis.evaluation.metrics import About, RunView, unflatten
from conceptbasis.runs.storage import from_json
from conceptbasis.tracking.mode import key_is_configured

JOB_TYPE = "transfer"
_SECONDS = 30


def read_logged_runs(path: str, group: str | None = None) -> dict[str, RunView]:
    """Every logged transfer by the name of its run, oldest first.

    Runs that an older version described in another form are left out.

    Args:
        path: ENTITY/PROJECT.
        group: One group of runs only.

    Raises:
        ConfigError: if the path is not of that form, there is no key, or no run is found.
        ConceptBasisError: if wandb cannot be reached or refuses.
    """
    check_access(path)
    filters = {"jobType": JOB_TYPE} | ({"group": group} if group else {})
    found = {}
    for name, config, figures in _fetch(path, filters):
        try:
            about = from_json(About, config.get("about"), Path(path) / name)
        except ArtifactError:
            continue
        found[name] = unflatten(about, figures)
    if not found:
        raise ConfigError(
            f"no finished transfer is logged in {path}" + (f", group {group}" if group else ""),
            expected=f"runs of job type {JOB_TYPE} that this version of conceptbasis logged",
            fix="check the names; runs logged offline need `wandb sync` first",
        )
    return found


def check_access(path: str) -> None:
    """Refuses what is no ENTITY/PROJECT, and a machine without a key.

    Raises:
        ConfigError: in either case.
    """
    entity, _, project = path.partition("/")
    if not entity or not project or "/" in project:
        raise ConfigError(
            f"--wandb {path!r}",
            expected="ENTITY/PROJECT, for example my-team/conceptbasis",
            fix="copy both names from the address of the project's page",
        )
    if not key_is_configured():
        raise ConfigError(
            "no wandb API key is configured",
            expected="WANDB_API_KEY, or a finished `wandb login`",
            fix="log in, or compare run folders: conceptbasis compare DIR DIR",
        )


def _fetch(path: str, filters: dict[str, str]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, configuration and figures of runs; runs of one name are told apart by their ids."""
    import wandb

    try:
        runs = list(wandb.Api(timeout=_SECONDS).runs(path, filters=filters, lazy=False))
        taken = [run.name for run in runs]
        return [
            (
                run.name if taken.count(run.name) == 1 else f"{run.name} ({run.id})",
                dict(run.config),
                dict(run.summary_metrics),
            )
            for run in runs
        ]
    except Exception as error:  # wandb has no common base for what its client raises
        raise ConceptBasisError(
            f"wandb gives no runs of {path}: {type(error).__name__}: {error}",
            expected="a project that exists and that the configured key may read",
            fix="check the names and the network, or compare run folders: compare DIR DIR",
        ) from error
