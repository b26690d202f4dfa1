"""Stage `replay`: the target under the transferred trajectory, by hooks or by a weight edit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
)
from conceptbasis.edits.strength import Strength, settled_intervention
from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.table import parse_row
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.text.generation import generate
from conceptbasis.runs.stage import StageOutput, load_stage
from conceptbasis.stages.guard import Guarded
from conceptbasis.study.harvest import Harvest
from conceptbasis.study.study import Study


def run_replay(
    study: Study, harvest: Harvest, guarded: Guarded
) -> tuple[Intervention, StageOutput]:
    """Runs or reuses the stage: fixes the intervention and proves that it edits the target."""
    section = study.config.replay

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        intervention, strength = settled_intervention(
            study, harvest, guarded.layers, guarded.directions, guarded.single
        )
        if strength is not None:
            study.reporter.say(strength.describe())
            _require_strength(strength)
        with apply_intervention(study.target.loaded, intervention) as report:
            study.reporter.say(f"replay edits {report}")
            edited = report.as_dict()
        assert intervention.means is not None
        tensors = {"directions": intervention.directions, "means": intervention.means}
        if intervention.gates is not None:
            tensors["gates"] = intervention.gates
        result = {
            "layers": list(intervention.layers),
            "single_layer": guarded.single,
            "mode": section.mode,
            "scope": section.scope,
            "gamma": intervention.gamma,
            "thresholds": list(intervention.thresholds),
            "strength": None if strength is None else asdict(strength),
            "which": section.which,
            "amounts": list(intervention.amounts),
            "edited": {name: list(count) for name, count in edited.items()},
            "target": study.target.config.model_dump(mode="json"),
            "target_hash": study.target.model_hash,
        }
        return tensors, result

    output = study.run.stage(
        "replay",
        config=section.model_dump(),
        inputs={
            "guard": guarded.output.hash,
            "harvest": harvest.hash,
            "target": study.target.model_hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    return read_intervention(output), output


def _require_strength(strength: Strength) -> None:
    if not strength.value:
        raise InterventionError(
            f"no strength holds the benign first-token KL within {strength.bound:g} nats",
            expected="an edit that benign requests bear at a small strength",
            fix="raise replay.benign_kl or replay.threshold, or set replay.gamma to a number",
        )


def read_intervention(output: StageOutput) -> Intervention:
    """The intervention that a finished replay stage describes."""
    result = output.result
    return Intervention(
        tuple(result["layers"]),
        output.tensors["directions"],
        result["mode"],
        result["scope"],
        result["gamma"],
        tuple(result["amounts"]),
        output.tensors["means"],
        result["which"],
        output.tensors.get("gates"),
        tuple(result.get("thresholds", ())),
    )


def load_intervention(folder: Path) -> tuple[Intervention, StageOutput]:
    """The intervention of a finished run.

    Raises:
        ArtifactError: if the run has no finished replay stage.
    """
    output = load_stage(folder, "replay")
    return read_intervention(output), output


def replay_folder(model: Any, folder: Path) -> AbstractContextManager[EditReport]:
    """The context in which a transformers model runs under a finished transfer."""
    intervention, output = load_intervention(folder)
    own = output.result["target"].get("architecture")
    row = None if own is None else parse_row(own)
    loaded = LoadedModel(model, None, resolve(model, row), type(model).__name__)
    return apply_intervention(loaded, intervention)


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
