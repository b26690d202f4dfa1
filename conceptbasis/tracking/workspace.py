"""A workspace for a wandb project: the same figures in the same places for everybody who looks."""

from __future__ import annotations

from typing import Any

from conceptbasis.behaviors import BEHAVIORS
from conceptbasis.behaviors.base import Behavior
from conceptbasis.errors import ConceptBasisError, ConfigError
from conceptbasis.methods import catalog
from conceptbasis.tracking.logged_runs import check_access

NAME = "conceptbasis"


def bars(behavior: Behavior) -> dict[str, tuple[str, ...]]:
    """Figures of runs by section, one panel of bars each."""
    words = behavior.words
    tasks = (f"delta/capability/{task}" for task in behavior.sets.capability)
    own = catalog.of_role("untouched", "transfer")
    references = (name for name in catalog.compared() if name not in own)
    return {
        words.noun.capitalize(): (
            f"transfer/{words.rate_key}",
            f"delta/{words.rate_key}",
            f"transfer/{words.recovered_key}",
            *(f"transfer/{words.spillover_key}/{name}" for name in behavior.sets.spillover),
            *(f"conditions/{name}/{words.rate_key}" for name in references),
        ),
        "Capability": (*tasks, "delta/perplexity", "transfer/kl_first_token/mean"),
        "Forecast": tuple(
            f"forecast/{name}" for name in ("eligible_mass", "agreement", "neighbour_effect")
        ),
    }


LINES = (
    "layers/donor/norm",
    "layers/donor/probe_accuracy",
    "layers/target/svcca",
    "layers/target/agreement",
    "layers/target/donor_cosine",
    "layers/target/guard_overlap",
)
"""Series over layers, one panel of lines each."""


IMAGES = tuple(f"figures/{name}" for name in ("rate", "lengths", "capability", "curve"))
"""Figures of the report that stand first, with intervals."""


def curves(behavior: Behavior) -> dict[str, tuple[str, ...]]:
    """Series with their bounds by axis, one panel of lines each."""
    key, compared = behavior.words.rate_key, catalog.compared()
    edits = [name for name in catalog.of_role("transfer", "native") if name in compared]
    names = [name for name in compared if name in (*catalog.of_role("untouched"), *edits)]
    return {
        "answer_tokens": tuple(f"lengths/{name}/{key}" for name in names),
        "first_token_kl": tuple(f"curve/{name}/{key}" for name in edits),
        "strength": tuple(f"strengths/{name}/kl" for name in edits),
    }


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
    first = [panels.MediaBrowser(media_keys=[key], num_columns=1) for key in IMAGES]
    table = panels.WeavePanelSummaryTable(table_name="conditions")
    sections = [workspaces.Section(name="Figures", is_open=True, panels=[*first, table])]
    for behavior in BEHAVIORS.values():
        drawn = [panels.LinePlot(x=x, y=[*keys]) for x, keys in curves(behavior).items()]
        sections.append(workspaces.Section(name="Curves", is_open=True, panels=drawn))
        sections += [
            workspaces.Section(
                name=name, is_open=True, panels=[panels.BarPlot(metrics=[key]) for key in keys]
            )
            for name, keys in bars(behavior).items()
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
