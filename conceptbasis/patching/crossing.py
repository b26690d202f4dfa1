"""Cross-use: the donor's circuit carried to the target and knocked out there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import torch
from torch import Generator

from conceptbasis.core.statistics.overlap import against, draw_like
from conceptbasis.core.statistics.ratios import bootstrap_shares
from conceptbasis.patching.finding import Measured, Search
from conceptbasis.patching.overlap import Place, components_of, n_bins, place_of, profile
from conceptbasis.results.circuits import Circuit, Component, CrossUse, ModelCircuits
from conceptbasis.runs.seeds import generator


def carry_by_depth(
    donor: ModelCircuits, circuit: Circuit, target: ModelCircuits, *, drawn: Generator
) -> frozenset[Component]:
    """A set of the target with the donor's share of components in each part of the depth.

    Heads of two models have no common number, so which ones of a part is drawn at random.
    """
    bins = n_bins(donor, target)
    shares = profile(circuit.members, donor, bins)
    pool = components_of(target)
    order = torch.randperm(len(pool), generator=drawn).tolist()
    left = _counts(shares, target, bins)
    found = []
    for index in order:
        place = place_of(pool[index], target, bins)
        if left.get(place, 0) > 0:
            left[place] -= 1
            found.append(pool[index])
    return frozenset(found)


def _counts(shares: Mapping[Place, float], target: ModelCircuits, bins: int) -> dict[Place, int]:
    totals: dict[Place, int] = {}
    for c in components_of(target):
        place = place_of(c, target, bins)
        totals[place] = totals.get(place, 0) + 1
    return {place: round(share * totals.get(place, 0)) for place, share in shares.items()}


def cross_use_by_depth(
    donor: ModelCircuits, circuit: Circuit, target: ModelCircuits, check: Measured, search: Search
) -> CrossUse:
    """What the target loses without as many components at the donor's relative depths.

    Random sets have as many heads and MLPs, at any depth.

    Args:
        donor: The donor.
        circuit: Its circuit of the task.
        target: The target.
        check: The target's pairs of the task, not those on which its circuit was found.
        search: How many random sets.
    """
    drawn = generator(search.seed, "carried", circuit.task)
    sets = [
        carry_by_depth(donor, circuit, target, drawn=drawn) for _ in range(max(1, search.n_random))
    ]
    return measure_cross_use("depth", circuit.task, sets, target, check, search)


def measure_cross_use(
    by: str,
    task: str,
    sets: list[frozenset[Component]],
    target: ModelCircuits,
    check: Measured,
    search: Search,
    stratum: Callable[[Component], Hashable] = lambda c: c.kind,
) -> CrossUse:
    """Knocks out sets that were carried over, the target's own circuit, and random sets.

    Args:
        by: How they were carried.
        task: The task.
        sets: Of equal numbers of heads and MLPs.
        target: The target.
        check: Its pairs of the task.
        search: How many random sets.
        stratum: In what random sets have as many components; in each kind by default.
    """
    drawn = generator(search.seed, "cross-use", by, task)
    pool = components_of(target)
    random_sets = [
        draw_like(sets[0], pool, stratum, generator=drawn) for _ in range(search.n_random)
    ]
    left = check.left([*sets, *random_sets])
    rows = torch.cat([left[: len(sets)].mean(0, keepdim=True), left[len(sets) :]])
    shares = bootstrap_shares(rows, check.span, generator=drawn)
    random, p = against(shares[0].value, [s.value for s in shares[1:]], large=False)
    own = next(c for c in target.circuits if c.task == task).completeness.value
    return CrossUse(task, by, len(sets[0]), shares[0], own, random, p)
