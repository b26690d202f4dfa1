"""A workspace for a wandb project: the same figures in the same places for everybody who looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conceptbasis.errors import ConceptBasisError, ConfigError
from conceptbasis.tracking.logged_runs import check_access

NAME = "conceptbasis"

BARS: Mapping[str, tuple[str, ...]] = {
    "Refusal": (
        "transfer/refusal",
        "delta/refusal",
        "transfer/recovered_compliance",
        "transfer/over_refusal/mentions",
        "conditions/native/refusal",
        "conditions/random_direction/refusal",
    ),
    "Capability": (
        "delta/capability/benign_exact_match",
        "delta/capability/arithmetic",
        "delta/perplexity",
        "transfer/kl_first_token/mean",
    ),
    "Forecast": ("forecast/eligible_mass", "forecast/agreement", "forecast/decline_effect"),
}
"""Figures of runs by section, one panel of bars each."""

LINES = (
    "layers/donor/norm",
    "layers/donor/probe_accuracy",
    "layers/target/svcca",
    "layers/target/agreement",
    "layers/target/donor_cosine",
    "layers/target/guard_overlap",
)
"""Series over layers, one panel of lines each."""


def save_workspace(path: str) -> str:
    """Saves a workspace view with panels for transfers to a project.

    Args:
        path: ENTITY/PROJECT.

    Returns:
        Its address.

    Raises:
        ConfigError: if the path, the key or the package wandb-workspaces is missing.
        ConceptBasisError: if wandb refuses.
    """
    check_access(path)
    workspaces, panels = _import()
    sections = [
        workspaces.Section(
            name=name, is_open=True, panels=[panels.BarPlot(metrics=[key]) for key in keys]
        )
        for name, keys in BARS.items()
    ]
    lines = [panels.LinePlot(x="layer", y=[key]) for key in LINES]
    sections.append(workspaces.Section(name="Layers", is_open=True, panels=lines))
    entity, _, project = path.partition("/")
    view = workspaces.Workspace(name=NAME, entity=entity, project=project, sections=sections)
    try:
        view.save()
    except Exception as error:  # whatever the client or the server raises
        raise ConceptBasisError(
            f"wandb does not save a workspace in {path}: {type(error).__name__}: {error}",
            expected="a project in which the configured key may save views",
            fix="check the names and the network; panels can also be added by hand",
        ) from error
    return str(view.url)


def _import() -> tuple[Any, Any]:
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2 as panels
    except ImportError as error:
        raise ConfigError(
            "the package wandb-workspaces is not installed",
            expected="conceptbasis with its extra `workspace`",
            fix="pip install 'conceptbasis[workspace]'",
        ) from error
    return workspaces, panels
