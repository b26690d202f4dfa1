"""Stage `baselines`: the donor's direction moved to the target by other means than features.

Every baseline gets what the transfer gets: the same text, the same weight on ends of prompts, and,
where it has a ridge strength, the same choice by projection agreement. None reads a label of the
target. `procrustes` and the contrast atoms have layer maps of their own, as their authors use them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.evaluation import EvaluateSection
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.edits.intervention import (
    Intervention,
    chosen_layers,
    plan_intervention,
    strengthens,
)
from conceptbasis.edits.spread import single_layer, spread
from conceptbasis.edits.strength import settle
from conceptbasis.errors import ConfigError, NumericsError
from conceptbasis.methods.contrast import CONTRAST, GAMMA, guarded_contrast
from conceptbasis.methods.dense_maps import DENSE, DenseMaps, Moved
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.runs.executor import map_unordered
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.align import Alignment
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.match import LayerPair
from conceptbasis.study.harvest import Harvest
from conceptbasis.study.study import Study

OWN_FORM: Mapping[str, ReplaySection] = {
    "affine": ReplaySection(mode="affine"),
    "contrast_ridge": ReplaySection(
        mode="orthogonalise", scope="writers", gamma=GAMMA, which="attention"
    ),
    "contrast_ridge_stream": ReplaySection(),
}
"""Baselines that are replayed in a form of their own; the others as the run replays its transfer.
All of these remove a direction, so they have no place in a run that strengthens refusal."""


DEFAULT = ("least_squares", "affine", "procrustes", "contrast_ridge", "contrast_ridge_stream")


def chosen(section: EvaluateSection) -> tuple[str, ...]:
    """Names of the baselines that a run makes.

    Raises:
        ConfigError: if one is unknown.
    """
    known = (*DENSE, *CONTRAST)
    names = DEFAULT if section.baselines is None else section.baselines
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"unknown baseline {unknown[0]!r}",
            expected="one of " + ", ".join(known),
            fix="correct evaluate.baselines",
        )
    return names


@dataclass(frozen=True)
class Method:
    """The directions of one baseline, and the benign means of its own replay form.

    Args:
        layers: Layers it has a direction for.
        directions: Unit directions.
        selections: Projection agreement by layer, on the sites of the choices.
        means: Benign means, None where the run measures them.
    """

    layers: tuple[int, ...]
    directions: Float[Tensor, "n_edited d_target"]
    selections: Mapping[int, float]
    means: Float[Tensor, "n_edited d_target"] | None


@dataclass(frozen=True)
class Baselines:
    """All baselines by name; those that could not be made are left out, with the reason."""

    methods: Mapping[str, Method]
    left_out: Mapping[str, str]
    output: StageOutput


def run_baselines(
    study: Study, rebuilder: Rebuilder, direction: DonorDirection, alignment: Alignment
) -> Baselines:
    """Runs or reuses the stage."""
    names = chosen(study.config.evaluate)
    harvest = rebuilder.harvest

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, rows, left_out = _dense(study, rebuilder, direction, alignment)
        result: dict[str, Any] = {"methods": rows, "left_out": left_out, "contrast": None}
        wanted = [name for name in CONTRAST if name in names]
        if wanted:
            contrast = guarded_contrast(study, rebuilder, direction, alignment)
            result["contrast"] = contrast.described
            for name in wanted:
                if contrast.directions is None:
                    left_out[name] = contrast.described["reason"]
                else:
                    tensors[f"{name}.directions"] = contrast.directions.clone()
                    rows[name] = contrast.described["layers"]
        return tensors, result

    transfer = study.config.transfer
    output = study.run.stage(
        "baselines",
        config={
            "names": list(names),
            "strengths": list(transfer.ridges),
            "end_of_prompt_share": transfer.end_of_prompt_share,
            **study.config.guard.model_dump(),
        },
        inputs={
            "harvest": harvest.hash,
            "direction": direction.output.hash,
            "align": alignment.output.hash,
            "target": study.target.model_hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    methods = {
        name: Method(
            tuple(row["target"] for row in output.result["methods"][name]),
            output.tensors[f"{name}.directions"],
            {row["target"]: row["selection"] for row in output.result["methods"][name]},
            output.tensors.get(f"{name}.means"),
        )
        for name in names
        if name in output.result["methods"]
    }
    return Baselines(methods, output.result["left_out"], output)


def _dense(
    study: Study, rebuilder: Rebuilder, direction: DonorDirection, alignment: Alignment
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """Every dense baseline at every mapped pair; several layers at a time."""
    names = [name for name in chosen(study.config.evaluate) if name in DENSE]
    pairs = alignment.layer_map.pairs

    def at(pair: LayerPair) -> dict[str, Moved | str]:
        maps = DenseMaps(study, rebuilder, direction)
        return {name: _tried(DENSE[name], maps, pair) for name in names}

    found: dict[int, Mapping[str, Moved | str]] = {}
    if names:
        with study.reporter.bar("baselines") as advance:
            workers, device = study.config.n_workers, study.config.device
            for place, moved in map_unordered(at, pairs, n_workers=workers, device=device):
                found[place] = moved
                advance(len(found), len(pairs), "")
    tensors: dict[str, Tensor] = {}
    rows: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name in names:
        moved_by_layer = [found[place][name] for place in range(len(pairs))]
        done = [moved for moved in moved_by_layer if isinstance(moved, Moved)]
        if len(done) < len(pairs):
            left_out[name] = next(why for why in moved_by_layer if isinstance(why, str))
            continue
        tensors |= _tensors(name, done)
        rows[name] = [_row(moved) for moved in done]
    return tensors, rows, left_out


def _tried(
    move: Callable[[DenseMaps, LayerPair], Moved], maps: DenseMaps, pair: LayerPair
) -> Moved | str:
    """A baseline that fails is a finding about it and must not end the run."""
    try:
        return move(maps, pair)
    except NumericsError as error:
        return f"target layer {pair[0]}, donor layer {pair[1]}: {error.what}"


def _tensors(name: str, moved: Sequence[Moved]) -> dict[str, Tensor]:
    found = {f"{name}.directions": torch.stack([m.choice.rebuilt.direction for m in moved])}
    means = [m.mean for m in moved if m.mean is not None]
    return found | ({f"{name}.means": torch.stack(means)} if means else {})


def _row(moved: Moved) -> dict[str, Any]:
    return {
        "target": moved.pair[0],
        "donor": moved.pair[1],
        "strength": moved.choice.strength,
        "selection": moved.choice.selection,
        "agreement": moved.choice.agreement,
        **moved.details,
    }


def plan_baselines(study: Study, harvest: Harvest, baselines: Baselines) -> dict[str, Intervention]:
    """The intervention of each baseline but those that `left_out` names.

    Args:
        study: Says how the run replays, and what the target is.
        harvest: Gives amounts and means of benign text.
        baselines: The directions.
    """
    planned: dict[str, Intervention] = {}
    obstacles = left_out(study, baselines)
    for name, method in baselines.methods.items():
        if name in obstacles:
            continue
        section, single, layers = _form(study, name, method)
        directions = spread(method.directions, method.layers, single)
        whole = plan_intervention(harvest, method.layers, directions, section, method.means)
        planned[name], _ = settle(study, harvest, whole.restrict(layers))
    return planned


def left_out(study: Study, baselines: Baselines) -> dict[str, str]:
    """Why baselines are left out, by name: those that were not made and those that cannot edit.

    Args:
        study: Says how the run replays, and what the target is.
        baselines: The directions.
    """
    found = dict(baselines.left_out)
    for name, method in baselines.methods.items():
        section, _, layers = _form(study, name, method)
        reason = _obstacle(study, name, section, layers)
        if reason is not None:
            found[name] = reason
    return found


def _form(study: Study, name: str, method: Method) -> tuple[ReplaySection, int | None, list[int]]:
    """How a baseline is replayed, the layer whose direction all layers get, and the layers."""
    replay, n_layers = study.config.replay, study.target.n_layers
    section = OWN_FORM.get(name, replay)
    # The reference method's own form edits weights layer by layer.
    own = section.mode == "orthogonalise" and name in OWN_FORM
    single = None if own else single_layer(method.selections, replay, n_layers)
    return section, single, chosen_layers(replay, method.layers, n_layers, single)


def _obstacle(study: Study, name: str, section: ReplaySection, layers: Sequence[int]) -> str | None:
    architecture = study.target.loaded.architecture
    if not layers:
        return "it moves no direction to the layers that this run edits"
    if name in OWN_FORM and strengthens(study.config.replay):
        return "its own form removes a direction, and this run strengthens refusal"
    refusal = architecture.weight_obstacle()
    if section.mode == "orthogonalise" and refusal is not None:
        return f"its own form edits weights, which is refused on {refusal}"
    return None
