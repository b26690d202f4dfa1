"""Stage `replay`: the target under the transferred trajectory, by hooks or by a weight edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.artifacts import StageOutput, load_stage
from conceptbasis.config import Mode, ReplaySection, Scope
from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture import parse_row
from conceptbasis.models.binding import resolve
from conceptbasis.models.edit_report import EditReport
from conceptbasis.models.generation import generate
from conceptbasis.models.hooks import Edit, intervene
from conceptbasis.models.loading import LoadedModel
from conceptbasis.models.weights import orthogonalise_weights
from conceptbasis.prompts import BENIGN_CLASSES, REQUEST_CLASSES
from conceptbasis.stages.guard import Guarded
from conceptbasis.stages.harvest import Harvest
from conceptbasis.stages.study import Study


@dataclass(frozen=True)
class Intervention:
    """Everything that is needed to edit a model, and nothing else.

    Args:
        layers: Edited layers.
        directions: Unit direction of each.
        mode: See docs/method.md.
        scope: `stream` or `writers`.
        gamma: Strength of every mode but `add`: 1 removes, 2 reflects, below 0 strengthens.
        amounts: What `add` adds along each direction.
        means: Mean of each edited layer where benign requests end, for `affine`.
        which: Whether a weight edit covers all writers or attention only.
    """

    layers: tuple[int, ...]
    directions: Float[Tensor, "n_edited d_model"]
    mode: Mode = "ablate"
    scope: Scope = "stream"
    gamma: float = 1.0
    amounts: tuple[float, ...] = ()
    means: Float[Tensor, "n_edited d_model"] | None = None
    which: str = "all"

    def restrict(self, layers: Sequence[int]) -> Intervention:
        """The same intervention on some of its layers.

        Raises:
            InterventionError: if none of them is edited.
        """
        kept = [i for i, layer in enumerate(self.layers) if layer in set(layers)]
        if not kept:
            raise InterventionError(
                f"none of the layers {sorted(layers)} is edited by this transfer",
                expected=f"some of {list(self.layers)}",
                fix="choose other layers (key replay.layers)",
            )
        return replace(
            self,
            layers=tuple(self.layers[i] for i in kept),
            directions=self.directions[kept],
            amounts=tuple(self.amounts[i] for i in kept) if self.amounts else (),
            means=self.means[kept] if self.means is not None else None,
        )

    def scaled(self, strength: float) -> Intervention:
        """The same intervention at a multiple of its strength."""
        return replace(
            self,
            gamma=self.gamma * strength,
            amounts=tuple(amount * strength for amount in self.amounts),
        )


@contextmanager
def apply_intervention(loaded: LoadedModel, intervention: Intervention) -> Iterator[EditReport]:
    """Edits the model for the duration of the context and restores it exactly.

    Yields:
        What is edited.

    Raises:
        InterventionError: if nothing would be edited, or the edit is not allowed on this model.
    """
    if intervention.mode == "orthogonalise":
        directions = dict(zip(intervention.layers, intervention.directions, strict=True))
        with orthogonalise_weights(
            loaded,
            directions,
            gamma=intervention.gamma,
            which="attention" if intervention.which == "attention" else "all",
        ) as report:
            yield report
        return
    with intervene(loaded, _edits(intervention), scope=intervention.scope) as report:
        yield report


def _edits(intervention: Intervention) -> list[Edit]:
    edits = []
    for i, (layer, r) in enumerate(zip(intervention.layers, intervention.directions, strict=True)):
        if intervention.mode == "affine":
            if intervention.means is None:
                raise InterventionError(
                    "mode affine without benign means",
                    expected="one mean per edited layer",
                    fix="run the replay stage, which measures them",
                )
            mean = intervention.means[i]
            edits.append(Edit(layer, r, "affine", mean=mean, gamma=intervention.gamma))
        elif intervention.mode == "add":
            edits.append(Edit(layer, r, "add", amount=intervention.amounts[i]))
        else:
            edits.append(Edit(layer, r, gamma=intervention.gamma))
    return edits


def plan_intervention(
    harvest: Harvest,
    layers: Sequence[int],
    directions: Float[Tensor, "n_edited d_model"],
    section: ReplaySection,
) -> Intervention:
    """An intervention along directions, with amounts and means measured on benign sites.

    Amounts are in standard deviations over all benign sites. Means are those at the ends of benign
    requests, so that `affine` leaves a request it ought to answer where such requests are.

    Args:
        harvest: Gives the target's residuals on benign text.
        layers: Target layers.
        directions: Unit directions of those layers.
        section: Mode, scope and strength.
    """
    amounts, means = [], []
    rows = _rows_of(harvest, BENIGN_CLASSES)
    ends = _rows_of(harvest, REQUEST_CLASSES)
    ends = ends[harvest.end_of_prompt[ends]]
    for layer, r in zip(layers, directions, strict=True):
        x = harvest.residuals("target", layer)
        amounts.append(section.alpha * float((x[rows] @ r).double().std()))
        # Without harvested ends of prompts there is only the mean over all benign text.
        means.append(x[ends if len(ends) else rows].double().mean(0).float())
    return Intervention(
        tuple(layers),
        directions,
        section.mode,
        section.scope,
        section.gamma,
        tuple(amounts),
        torch.stack(means),
        section.which,
    )


def _rows_of(harvest: Harvest, classes: Sequence[str]) -> Int[Tensor, " n_rows"]:
    """Report sites of texts of some classes."""
    rows = harvest.rows("report")
    wanted = torch.tensor([t.text_class in classes for t in harvest.texts])
    return rows[wanted[harvest.text[rows]]]


def strengthens(replay: ReplaySection) -> bool:
    """Whether an intervention is meant to raise refusal."""
    if replay.mode == "add":
        return replay.alpha > 0
    return replay.gamma < 0


def chosen_layers(section: ReplaySection, layers: Sequence[int], n_layers: int) -> list[int]:
    """The layers that `replay.layers` leaves: all, those below 0.8 L, or the last one."""
    if section.layers == "early":
        return [layer for layer in layers if layer < int(section.early_fraction * n_layers)]
    if section.layers == "last":
        return [layer for layer in layers if layer == n_layers - 1]
    return list(layers)


def run_replay(
    study: Study, harvest: Harvest, guarded: Guarded
) -> tuple[Intervention, StageOutput]:
    """Runs or reuses the stage: fixes the intervention and proves that it edits the target."""
    section = study.config.replay

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        planned = plan_intervention(harvest, guarded.layers, guarded.directions, section)
        kept = chosen_layers(section, planned.layers, study.target.n_layers)
        intervention = planned.restrict(kept)
        with apply_intervention(study.target.loaded, intervention) as report:
            study.reporter.say(f"replay edits {report}")
            edited = report.as_dict()
        assert intervention.means is not None
        tensors = {"directions": intervention.directions, "means": intervention.means}
        result = {
            "layers": list(intervention.layers),
            "single_layer": guarded.single,
            "mode": section.mode,
            "scope": section.scope,
            "gamma": section.gamma,
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
