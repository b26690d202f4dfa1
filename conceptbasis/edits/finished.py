"""The edit of a finished run, put on a model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from conceptbasis.edits.acting import apply_proved
from conceptbasis.edits.intervention import Intervention, apply_intervention, intervention_of
from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.table import parse_row
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.loading.wrapped import adapters_in, hash_weights, unwrap
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
        model: The target, compiled or wrapped by PEFT or neither.
        folder: The run folder.
        gamma: Strength in place of the run's; in mode `add`, a multiple of what the run adds.
        layers: Some of the edited layers; all by default.
        check: Whether the model's weights must be those of the target.

    Raises:
        InterventionError: if the model's weights are not those of the target (unless `check` is
            off), or an adapter would escape an edit of weights.
    """
    replayed, inner = load_replayed(folder), unwrap(model)
    if check:
        _check_weights(model, inner, replayed)
    row = None if replayed.architecture is None else parse_row(replayed.architecture)
    loaded = LoadedModel(inner, None, resolve(inner, row), type(inner).__name__)
    if replayed.mode == "orthogonalise" and adapters_in(inner):
        raise InterventionError(
            "an edit of weights on a model with an active adapter, whose own writes it misses",
            expected="a model with the adapter merged into its weights",
            fix="call model.merge_and_unload() first and pass what it returns",
        )
    return apply_proved(model, loaded, _adjusted(intervention_of(replayed), gamma, layers))


def _check_weights(model: Any, inner: Any, replayed: Replayed) -> None:
    found = hash_weights(model)
    if found == replayed.weights["target"]:
        return
    name = getattr(inner, "name_or_path", "") or type(inner).__name__
    what = f"{name} is not the target of this run (its weights differ)"
    if found == replayed.weights["donor"]:
        what = f"{name} is the donor of this run; the edit is for its target"
    adapted = ", without an adapter of its own" if adapters_in(inner) else ""
    raise InterventionError(
        what,
        expected=f"the weights of {replayed.target_name}{adapted}",
        fix="load that model, or pass check=False to edit this one all the same",
    )


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
