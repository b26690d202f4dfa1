"""The model that judges whether an answer fits its prompt: at best one that never refused it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conceptbasis.models.loading.load import load_model
from conceptbasis.organisms.spec import parse_spec
from conceptbasis.organisms.tuned.build import ensure_untuned, teacher_answers
from conceptbasis.organisms.tuned.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conceptbasis.config.evaluation import EvaluateSection
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.data.prompts import Prompt
    from conceptbasis.models.loading.loaded import LoadedModel
    from conceptbasis.runs.progress import Reporter


def open_reference(
    section: EvaluateSection,
    target: ModelConfig,
    prompts: Iterable[Prompt],
    device: str,
    reporter: Reporter,
) -> LoadedModel | None:
    """The model of `evaluate.reference`, or what a tuned target was before it learned to refuse.

    A model that refuses a request finds every answer to it unlikely, so it fails fitting ones.

    Args:
        section: Settings.
        target: The target.
        prompts: Those whose answers may be judged.
        device: A torch device.
        reporter: Told the progress.

    Returns:
        None where the untouched target judges, or where every true answer is known.

    Raises:
        ModelError: The model cannot be loaded.
    """
    if not section.n_relevance or all(p.answer is not None for p in prompts):
        return None
    place: str | Path | None = section.reference
    if place is None:
        spec = parse_spec(target.model)
        if spec is None or spec.family not in FAMILIES:
            return None
        place = ensure_untuned(spec, teacher_answers(reporter), reporter)
    return load_model(place, dtype=target.dtype, device=device)
