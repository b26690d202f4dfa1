"""The edit of a finished run, put on a model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from conceptbasis.edits.intervention import Intervention, apply_intervention, intervention_of
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.table import parse_row
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.text.generation import generate
from conceptbasis.results.edit import Replayed
from conceptbasis.runs.graph import load_result


def load_replayed(folder: Path) -> Replayed:
    """The finished edit of a run.

    Raises:
        ArtifactError: if the run has no finished replay stage.
    """
    return load_result(folder, "replay", Replayed)


def replay_folder(
    model: Any,
    folder: Path,
    *,
    gamma: float | None = None,
    layers: Iterable[int] | None = None,
) -> AbstractContextManager[EditReport]:
    """The context in which a transformers model runs under a finished transfer.

    Args:
        model: The target.
        folder: The run folder.
        gamma: Strength in place of the run's; in mode `add`, a multiple of what the run adds.
        layers: Some of the edited layers; all by default.
    """
    replayed = load_replayed(folder)
    row = None if replayed.architecture is None else parse_row(replayed.architecture)
    loaded = LoadedModel(model, None, resolve(model, row), type(model).__name__)
    return apply_intervention(loaded, _adjusted(intervention_of(replayed), gamma, layers))


def _adjusted(
    intervention: Intervention, gamma: float | None, layers: Iterable[int] | None
) -> Intervention:
    kept = intervention if layers is None else intervention.restrict(layers)
    if gamma is None:
        return kept
    return kept.scaled(gamma) if kept.mode == "add" else replace(kept, gamma=gamma)


def answer_both(
    loaded: LoadedModel, intervention: Intervention, prompts: list[str], *, max_new_tokens: int
) -> tuple[list[str], list[str], str]:
    """Answers before and after, and what was edited.

    Args:
        loaded: The target.
        intervention: The finished transfer.
        prompts: What is asked.
        max_new_tokens: Longest answer.
    """
    before = generate(loaded, prompts, max_new_tokens=max_new_tokens)
    with apply_intervention(loaded, intervention) as report:
        after = generate(loaded, prompts, max_new_tokens=max_new_tokens)
        return before, after, str(report)
