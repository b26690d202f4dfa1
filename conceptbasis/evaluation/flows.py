"""Which concept of the recipe takes the behavior away?

A flow is one concept, traced over layers. The recipe is rebuilt without a flow at all of its
layers, and from that flow alone, by the route and the guard of the transfer; the behavior is
measured under both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.paired import paired_binary
from conceptbasis.edits.intervention import Intervention
from conceptbasis.errors import NumericsError
from conceptbasis.evaluation.bench import Bench, make_bench
from conceptbasis.evaluation.figures import condition_figures
from conceptbasis.evaluation.measure import POSITIVE, Outcome, measure_all
from conceptbasis.evaluation.trials import Trial
from conceptbasis.methods.base import Treatment
from conceptbasis.methods.bridge import Bridge
from conceptbasis.results.atoms import Atoms, Flow, FlowEffect, FlowEffects, MeasuredFlow
from conceptbasis.results.evaluation import Evaluation
from conceptbasis.results.layers import LayerPair, LayerPlan
from conceptbasis.study.study import Study, noun_clusters

_TENSORS = ("feature_ids", "coefficients", "low", "high", "selection_frequency")


def measure_flows(
    study: Study, bridge: Bridge, atoms: Atoms, evaluation: Evaluation
) -> FlowEffects:
    """Measures the behavior without each of the largest flows, and with each alone.

    Args:
        study: Gives the target and the settings.
        bridge: Over the results of all stages before the seal.
        atoms: Gives the flows.
        evaluation: Gives the first tokens of the behavior.
    """
    section = study.config.flows
    flows = atoms.flows[: section.n_flows]
    bench = make_bench(study, bridge.sites, evaluation.behavior_tokens)
    trials = flow_trials(bridge, flows, section.n_prompts, _not_measured(bench))
    with study.reporter.bar("flows") as advance:
        outcomes = measure_all(bench, trials, study.folder / "flows" / "conditions", advance)
    return _result(study, bench, flows, outcomes)


def _not_measured(bench: Bench) -> tuple[str, ...]:
    """All but what the flows are about, and the damage they do."""
    return tuple(name for name in bench.sets if name not in (POSITIVE, bench.negative))


def flow_trials(
    bridge: Bridge, flows: Sequence[Flow], n_prompts: int, without: tuple[str, ...] = ()
) -> list[Trial]:
    """Untouched, the whole transfer, and for each flow the recipe without it and it alone."""
    everything = Trial("untouched", n_prompts=n_prompts, without=without)
    found = [everything, replace(everything, name="transfer", treatment=Treatment(bridge.edit))]
    for place, flow in enumerate(flows):
        for name, keep in (("without", False), ("only", True)):
            treatment = Treatment(edit_of(bridge, cut_recipes(bridge.recipes, flow, keep=keep)))
            found.append(replace(everything, name=name, draw=place, treatment=treatment))
    return found


def edit_of(bridge: Bridge, recipes: Mapping[int, Recipe]) -> Intervention | None:
    """The run's own intervention with directions of these recipes; None without any.

    Layers whose direction comes from a recipe that writes nothing are not edited.

    Args:
        bridge: The way into the target.
        recipes: By target layer.
    """
    found = {pair[0]: _direction(bridge, pair, recipes[pair[0]]) for pair in bridge.used_pairs}
    known = {layer: r for layer, r in found.items() if r is not None}
    plan = LayerPlan(tuple(pair for pair in bridge.edit.plan.source if pair[1] in known))
    return bridge.guarded_edit(plan, known) if plan.source else None


def _direction(
    bridge: Bridge, pair: LayerPair, recipe: Recipe
) -> Float[Tensor, " d_target"] | None:
    if not len(recipe.feature_ids):
        return None
    try:
        return bridge.rebuilt(pair, recipe)
    except NumericsError:
        return None  # what is left of the recipe writes nothing into the target


def cut_recipes(recipes: Mapping[int, Recipe], flow: Flow, *, keep: bool) -> dict[int, Recipe]:
    """The recipes without the atoms of a flow, or with these alone.

    Args:
        recipes: By target layer.
        flow: A flow of stage `atoms`.
        keep: Whether the flow is what is kept.
    """
    latents: dict[int, set[int]] = {}
    for atom in flow.atoms:
        latents.setdefault(atom.target, set()).add(atom.latent)
    return {
        layer: _cut(recipe, latents.get(layer, set()), keep=keep)
        for layer, recipe in recipes.items()
    }


def _cut(recipe: Recipe, latents: Collection[int], *, keep: bool) -> Recipe:
    of_flow = torch.isin(recipe.feature_ids, torch.tensor(sorted(latents), dtype=torch.int64))
    kept = of_flow if keep else ~of_flow
    return replace(recipe, **{name: getattr(recipe, name)[kept] for name in _TENSORS})


def _result(
    study: Study, bench: Bench, flows: Sequence[Flow], outcomes: Sequence[Outcome]
) -> FlowEffects:
    untouched, transfer, *rest = outcomes
    clusters = noun_clusters(bench.sets[POSITIVE][: study.config.flows.n_prompts])

    def effect(before: Outcome, after: Outcome) -> FlowEffect:
        change = _change(study, before, after, clusters)
        return FlowEffect(condition_figures([after], study.behavior), change)

    return FlowEffects(
        condition_figures([untouched], study.behavior),
        condition_figures([transfer], study.behavior),
        tuple(
            MeasuredFlow(
                place,
                flow.label,
                effect(transfer, rest[2 * place]),
                effect(untouched, rest[2 * place + 1]),
            )
            for place, flow in enumerate(flows)
        ),
    )


def _change(
    study: Study, before: Outcome, after: Outcome, clusters: Int[Tensor, " n_prompts"]
) -> Interval | None:
    """Paired change of the rate, over prompts that both have an answer to judge."""
    pairs = list(zip(before.verdicts[POSITIVE], after.verdicts[POSITIVE], strict=True))
    known = torch.tensor([a is not None and b is not None for a, b in pairs])
    if not bool(known.any()):
        return None
    values = torch.tensor([[float(bool(v)) for v in pair] for pair in pairs])[known]
    return paired_binary(
        values[:, 0],
        values[:, 1],
        generator=study.generator("flow"),
        clusters=clusters[known],
    )
