"""The conditions of an evaluation: transfer, bases, ablations, controls, baselines, native."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.layers.alignment import LayerMap, far_map
from conceptbasis.edits.intervention import Intervention, plan_intervention
from conceptbasis.edits.spread import replayed_pairs, single_layer, spread
from conceptbasis.edits.strength import settle
from conceptbasis.errors import CoverageError, NumericsError
from conceptbasis.evaluation.proxies import transfer_contrast
from conceptbasis.methods.rebuilder import BASES, Rebuilder
from conceptbasis.models.stream.native import Native
from conceptbasis.stages.align import Alignment
from conceptbasis.stages.baselines import Baselines, plan_baselines
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.fit import RecipeSet
from conceptbasis.stages.guard import Guarded
from conceptbasis.stages.transfer import Transfer
from conceptbasis.study.harvest import Harvest
from conceptbasis.study.study import Study

CONTROLS = ("random_direction", "shuffled_atoms", "far_layers", "unrelated_recipe")
"""Conditions that must leave refusal as it is."""

NATIVE = ("native", "native_trajectory")
"""The target's own directions; the single one is the bar."""

COMPARED = ("safe", "arithmetic")
"""Sets on which the transfer is compared with random directions, so these use every prompt."""


@dataclass(frozen=True)
class Condition:
    """One thing that is done to the target before it is measured.

    Args:
        name: As in the summary.
        draw: Number of the random draw.
        intervention: The edit, None for the untouched model.
        splice: Layers whose output is replaced by its SAE reconstruction.
        n_prompts: How many prompts of each set are used, None for all.
        in_full: Sets that are used in full all the same.
        without: Sets that are not measured.
    """

    name: str
    draw: int = 0
    intervention: Intervention | None = None
    splice: tuple[int, ...] = ()
    n_prompts: int | None = None
    in_full: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """What the conditions are made of."""

    study: Study
    harvest: Harvest
    rebuilder: Rebuilder
    direction: DonorDirection
    alignment: Alignment
    recipes: RecipeSet
    transfer: Transfer
    intervention: Intervention
    baselines: Baselines
    guarded: Guarded


def method_conditions(parts: Parts) -> list[Condition]:
    """The transfer, the other bases and the baselines."""
    found = [Condition("transfer", intervention=parts.intervention)]
    for name in BASES:
        if name != parts.transfer.basis:
            planned = _plan_basis(parts, name)
            found.append(Condition(name, intervention=planned))
    baselines = plan_baselines(parts.study, parts.harvest, parts.baselines)
    return found + [Condition(name, intervention=edit) for name, edit in baselines.items()]


def transfer_conditions(parts: Parts) -> list[Condition]:
    """Conditions that need no label of the target."""
    found = [Condition("baseline"), *method_conditions(parts), *_layer_conditions(parts)]
    unguarded = _plan_basis(parts, parts.transfer.basis)
    found.append(Condition("no_guard", intervention=unguarded))
    found.append(Condition("sae_error_only", splice=parts.intervention.layers))
    return found + (_controls(parts) if parts.study.config.evaluate.controls else [])


def native_directions(native: Native) -> dict[str, Tensor]:
    """The target's own directions at every layer: the single one, and one per layer."""
    found = {"native_trajectory": native.per_layer}
    if native.single is not None:
        found["native"] = native.single.expand_as(native.per_layer)
    return found


def native_conditions(parts: Parts, directions: Mapping[str, Tensor]) -> list[Condition]:
    """The target under its own directions; the single one also below 0.8 L only, and the
    trajectory also displaced, to say whether displacing can fail on this target at all."""
    study, n_layers = parts.study, parts.study.target.n_layers
    parts.harvest.read_reported_ends(study.target.loaded, study.config.harvest, study.reporter)
    raises = study.config.replay.mode == "raise"
    edited = parts.intervention.layers if raises else range(n_layers)
    planned = {
        name: _plan_on(parts, range(n_layers), directions[name], edited)
        for name in NATIVE
        if name in directions
    }
    # Of the layers that the transfer has directions of: a first layer that is not mapped may not
    # refuse yet, and its direction would make displacing look harmless.
    own = directions["native_trajectory"][list(parts.transfer.layers)]
    far = _displaced_edit(parts, own)
    if far is not None:
        planned["native_far"] = far
    if "native" in planned and set(_early(parts)) & set(edited):
        planned["native_early"] = planned["native"].restrict(_early(parts))
    return [Condition(name, intervention=edit) for name, edit in planned.items()]


def _early(parts: Parts) -> range:
    """Layers whose edit cannot be mere suppression of output words."""
    return range(int(parts.study.config.replay.early_fraction * parts.study.target.n_layers))


def _plan_basis(parts: Parts, basis: str) -> Intervention:
    """The run's own intervention with the directions of a basis, unguarded, on the same layers."""
    transfer, study = parts.transfer, parts.study
    single = single_layer(transfer.selections(basis), study.config.replay, study.target.n_layers)
    used = spread(transfer.directions[basis], transfer.layers, single)
    return _plan_on(parts, transfer.layers, used, parts.intervention.layers)


def _plan_on(
    parts: Parts, layers: Sequence[int], directions: Tensor, kept: Sequence[int]
) -> Intervention:
    """The run's intervention along other directions, at the strength that the same rule gives."""
    places = [place for place, layer in enumerate(layers) if layer in kept]
    edited = [layers[place] for place in places]
    section = parts.study.config.replay
    planned = plan_intervention(parts.harvest, edited, directions[places], section)
    return settle(parts.study, parts.harvest, planned)[0]


def _layer_conditions(parts: Parts) -> list[Condition]:
    """The same directions below 0.8 L only and at the last layer only; then the other choice of
    `replay.directions`, at all edited layers and below 0.8 L only."""
    n_layers = parts.study.target.n_layers
    sets = {"early_layers_only": _early(parts), "last_layer_only": [n_layers - 1]}
    found = [
        Condition(name, intervention=parts.intervention.restrict(list(layers)))
        for name, layers in sets.items()
        if set(layers) & set(parts.intervention.layers)
    ]
    name, other = _other_directions(parts)
    found.append(Condition(name, intervention=other))
    if set(_early(parts)) & set(other.layers):
        found.append(Condition(f"{name}_early", intervention=other.restrict(_early(parts))))
    return found


def _other_directions(parts: Parts) -> tuple[str, Intervention]:
    """The transfer with each layer's own direction, or with a single one where it has those."""
    transfer, study = parts.transfer, parts.study
    one = study.config.replay.model_copy(update={"directions": "single"})
    single = single_layer(transfer.selections(transfer.basis), one, study.target.n_layers)
    name, single = (
        ("single_direction", single) if parts.guarded.single is None else ("trajectory", None)
    )
    used = spread(transfer.output.tensors["direction"], transfer.layers, single)
    safe = parts.guarded.keep_out(used, transfer.layers)
    return name, _plan_on(parts, transfer.layers, safe, parts.intervention.layers)


def control_draws(parts: Parts) -> list[Condition]:
    """One draw of each control, for comparisons at equal damage."""
    found = [random_condition(parts, 0)]
    found.append(Condition("shuffled_atoms", 0, _from_directions(parts, _shuffled(parts, 0))))
    unrelated = next(_unrelated(parts), None)
    if unrelated is not None:
        found.append(Condition("unrelated_recipe", 0, _from_directions(parts, unrelated)))
    return found


def _controls(parts: Parts) -> list[Condition]:
    section = parts.study.config.evaluate
    few = section.n_control_prompts
    found = []
    for draw in range(section.n_random):
        drawn = random_condition(parts, draw)
        found.append(replace(drawn, n_prompts=few, in_full=COMPARED))
    for draw in range(section.n_shuffled):
        planned = _from_directions(parts, _shuffled(parts, draw))
        found.append(Condition("shuffled_atoms", draw, planned, n_prompts=few))
    far = _displaced_edit(parts, parts.transfer.output.tensors["direction"])
    if far is not None:
        found.append(Condition("far_layers", 0, far))
    for draw, directions_by_layer in enumerate(islice(_unrelated(parts), section.n_unrelated)):
        planned = _from_directions(parts, directions_by_layer)
        found.append(Condition("unrelated_recipe", draw, planned, n_prompts=few))
    return found


def random_condition(parts: Parts, draw: int) -> Condition:
    """Random unit directions on the layers of the transfer."""
    generator = parts.study.generator(50_000 + draw)
    directions = torch.randn(parts.intervention.directions.shape, generator=generator)
    unit = directions / directions.norm(dim=1, keepdim=True)
    layers = parts.intervention.layers
    planned = _plan_on(parts, layers, spread(unit, layers, parts.guarded.single), layers)
    return Condition("random_direction", draw, planned)


def _needed_pairs(parts: Parts) -> list[tuple[int, int]]:
    return replayed_pairs(parts.alignment.layer_map.pairs, parts.guarded.single)


def _from_directions(parts: Parts, directions: Mapping[int, Tensor]) -> Intervention:
    single, edited = parts.guarded.single, parts.intervention.layers
    layers = sorted(directions) if single is None else list(edited)
    trajectory = torch.stack([directions[layer if single is None else single] for layer in layers])
    return _plan_on(parts, layers, trajectory, edited)


def _shuffled(parts: Parts, draw: int) -> dict[int, Tensor]:
    """The recipe's coefficients on random eligible features."""
    directions = {}
    for target, donor in _needed_pairs(parts):
        generator = parts.study.generator(60_000 + 100 * draw + target)
        eligible = parts.rebuilder.matches.pairs[(target, donor)].eligible_donor
        recipe = parts.recipes.recipes[target]
        order = torch.randperm(len(eligible), generator=generator)[: len(recipe.feature_ids)]
        shuffled = replace(recipe, feature_ids=eligible[order])
        directions[target] = _rebuild(parts, (target, donor), shuffled)
    return directions


def _rebuild(parts: Parts, pair: tuple[int, int], recipe: Recipe) -> Tensor:
    choice = parts.rebuilder.rebuild(
        parts.transfer.basis, pair, recipe, parts.direction.trajectory[pair[1]]
    )
    return choice.rebuilt.direction


def _displaced_edit(parts: Parts, own: Float[Tensor, "n_edited d_target"]) -> Intervention | None:
    """Directions of the transfer's layers, displaced; None where there are fewer than two.

    Fitting the map anew at a far donor layer would only ask whether refusal is legible there
    too, and on organisms it is at every layer; this asks whether the map put it where it belongs.
    """
    edit, layers = parts.intervention, parts.transfer.layers
    if len(layers) < 2 or (parts.guarded.single is None and len(edit.layers) < 2):
        return None
    if parts.guarded.single is None:
        kept = [place for place, layer in enumerate(layers) if layer in edit.layers]
        own, layers = own[kept], edit.layers
    return _plan_on(parts, layers, _displaced(parts, own, layers), edit.layers)


def _displaced(parts: Parts, trajectory: Tensor, layers: Sequence[int]) -> Tensor:
    """Directions of the layer farthest from where they belong: from each layer, or from the one
    whose direction is used everywhere."""
    n, single = len(layers), parts.guarded.single
    if single is not None:
        return spread(trajectory, layers, max(layers, key=lambda layer: abs(layer - single)))
    far = far_map(LayerMap(tuple((place, place) for place in range(n)), None, ()), n)
    return trajectory[[place for _, place in far.pairs]]


def _unrelated(parts: Parts) -> Iterator[dict[int, Tensor]]:
    """Recipes of benign topics, sent through the same route."""
    study = parts.study
    concepts = sorted((c for c in study.suite.concepts if c.budget == "B0"), key=lambda c: c.name)
    for number, concept in enumerate(concepts):
        try:
            yield transfer_contrast(
                study,
                parts.rebuilder,
                parts.transfer.basis,
                _needed_pairs(parts),
                [p.text for p in concept.positive],
                [p.text for p in concept.negative],
                80_000 + 10 * number,
            )
        except (CoverageError, NumericsError):
            continue  # a topic without matched features is no control
