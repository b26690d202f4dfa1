"""The edit of a finished run, put on a model."""

from __future__ import annotations

from contextlib import AbstractContextManager
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


def replay_folder(model: Any, folder: Path) -> AbstractContextManager[EditReport]:
    """The context in which a transformers model runs under a finished transfer."""
    replayed = load_replayed(folder)
    row = None if replayed.architecture is None else parse_row(replayed.architecture)
    loaded = LoadedModel(model, None, resolve(model, row), type(model).__name__)
    return apply_intervention(loaded, intervention_of(replayed))


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
