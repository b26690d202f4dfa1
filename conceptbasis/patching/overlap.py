"""How far circuits are shared, within a model and between models, against random sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from conceptbasis.core.statistics.overlap import against, draw_like, jaccard, weighted_jaccard
from conceptbasis.patching.finding import Search, depth_of
from conceptbasis.results.circuits import Component, ModelCircuits, Overlap
from conceptbasis.runs.seeds import generator

N_BINS = 6
"""Parts of the depth in which two models are compared, fewer where a model has fewer blocks."""

Place = tuple[str, int]


def components_of(model: ModelCircuits) -> list[Component]:
    """All heads and MLPs of a model, layer by layer."""
    return [
        Component(layer, head)
        for layer in range(model.n_layers)
        for head in (*range(model.n_heads), -1)
    ]


def overlaps_within(model: ModelCircuits, side: str, search: Search) -> list[Overlap]:
    """Jaccard index of every two tasks of one model.

    Random sets have as many heads and MLPs as the second circuit in each quarter of the depth.

    Args:
        model: Its circuits.
        side: What the model is.
        search: How many random sets.
    """
    pool = components_of(model)
    found = []
    for one, other in combinations(model.circuits, 2):
        a, b = frozenset(one.members), frozenset(other.members)
        tasks = (one.task, other.task)
        drawn = generator(search.seed, "overlap", side, *tasks)
        random_scores = [
            jaccard(a, draw_like(b, pool, lambda c: depth_of(c, model.n_layers), generator=drawn))
            for _ in range(search.n_permutations)
        ]
        score = jaccard(a, b)
        random, p = against(score, random_scores)
        found.append(Overlap(side, tasks, "components", len(a & b), score, random, p))
    return found


def n_bins(*models: ModelCircuits) -> int:
    """In how many parts the depths of some models are cut."""
    return min(N_BINS, *(model.n_layers for model in models))


def profile(
    members: Sequence[Component] | frozenset[Component], model: ModelCircuits, bins: int
) -> Mapping[Place, float]:
    """By kind and part of the depth, the share of a model's components that are in a set."""
    totals: dict[Place, int] = {}
    chosen: dict[Place, int] = {}
    for counted, some in ((totals, components_of(model)), (chosen, list(members))):
        for c in some:
            place = place_of(c, model, bins)
            counted[place] = counted.get(place, 0) + 1
    return {place: n / totals[place] for place, n in chosen.items()}


def place_of(component: Component, model: ModelCircuits, bins: int) -> Place:
    """Kind and part of the depth of a component."""
    return component.kind, component.layer * bins // model.n_layers


def overlaps_between(donor: ModelCircuits, target: ModelCircuits, search: Search) -> list[Overlap]:
    """How alike the depths are at which two models keep a task.

    Formula: Σ min(a, b) / Σ max(a, b) over kinds and parts of the depth, a and b the shares of that
    part's components which are in the donor's and in the target's circuit. Random sets have as many
    heads and MLPs as the target's circuit, at any depth.
    """
    bins, pool = n_bins(donor, target), components_of(target)
    found = []
    for one in donor.circuits:
        other = next(c for c in target.circuits if c.task == one.task)
        own = profile(one.members, donor, bins)
        members = frozenset(other.members)
        drawn = generator(search.seed, "depth overlap", one.task)
        random_scores = [
            weighted_jaccard(
                own,
                profile(draw_like(members, pool, lambda c: c.kind, generator=drawn), target, bins),
            )
            for _ in range(search.n_permutations)
        ]
        score = weighted_jaccard(own, profile(members, target, bins))
        random, p = against(score, random_scores)
        found.append(Overlap("between", (one.task, one.task), "depth", None, score, random, p))
    return found
