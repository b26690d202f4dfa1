"""The edit of a finished run, put on a model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from conceptbasis.edits.intervention import Intervention, apply_intervention, intervention_of
from conceptbasis.edits.target import Belongs, adjusted, edit_target
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
    check: bool = True,
) -> AbstractContextManager[EditReport]:
    """The context in which a transformers model runs under a finished transfer.

    Args:
        model: The target, also compiled, or wrapped by PEFT or for several devices.
        folder: The run folder.
        gamma: Strength in place of the run's; in mode `add`, a multiple of what the run adds.
        layers: Some of the edited layers; all by default.
        check: Whether the model's weights must be those of the target.

    Raises:
        InterventionError: if the model's weights are not those of the target (unless `check` is
            off), or an adapter would escape an edit of weights.
    """
    replayed = load_replayed(folder)
    belongs = Belongs("this run", replayed.target_name, replayed.weights, replayed.architecture)
    edit = adjusted(intervention_of(replayed), gamma, layers)
    return edit_target(model, edit, belongs, check=check)


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
