"""Plans an edit along directions: what it reads, where it is centred, how much it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.edits.gates import Gate, fit_gate, level_gate
from conceptbasis.edits.intervention import Intervention
from conceptbasis.results.layers import LayerPlan
from conceptbasis.study.sites import Sites

Along = Sequence[tuple[int, Float[Tensor, " d_model"]]]
"""Edited layers with the direction of each."""


def plan_intervention(
    sites: Sites,
    plan: LayerPlan,
    by_layer: Mapping[int, Float[Tensor, " d_model"]],
    section: ReplaySection,
    means: Mapping[int, Float[Tensor, " d_model"]] | None = None,
) -> Intervention:
    """An intervention along directions, with amounts (mode `add`) and means of benign sites.

    Amounts are in standard deviations over all benign sites. Means are those at the ends of benign
    requests, so that `affine` leaves a request it ought to answer where such requests are, or at
    all benign sites, so that it leaves words where words are (`replay.centre`). `cap` moves only
    what lies above them; it can read so that both have one mean. A run
    that removes a direction goes on by `replay.offset` standard deviations of these requests,
    which makes up for what a rebuilt direction misses and is where many of them lie anyway. Gates
    and thresholds of `raise` are those of benign requests of the `fit` split. γ `auto` is planned
    as −1 and an offset `auto` as 0, for `strength.settle` to find.

    Args:
        sites: Gives the target's residuals on benign text.
        plan: Edited layers, and whose direction each gets.
        by_layer: Unit directions of the layers that the plan takes them from.
        section: Mode, scope and strength.
        means: Other means than those of the benign requests, by edited layer.
    """
    directions = torch.stack([by_layer[source] for _, source in plan.source])
    along = list(zip(plan.layers, directions, strict=True))
    amounts: list[float] = []
    if section.mode == "add":
        rows = sites.benign_rows
        for layer, r in along:
            x = sites.residuals("target", layer)[rows]
            amounts.append(section.alpha * float((x @ r).double().std()))
    gates = _gates(sites, along, section)
    gamma = -1.0 if section.gamma == "auto" else section.gamma
    raised = section.mode == "raise"
    return Intervention(
        plan,
        directions,
        section.mode,
        section.scope,
        gamma,
        tuple(amounts),
        torch.stack([gate.mean for gate in gates])
        if raised
        else _means(sites, along, gates, section, means),
        section.which,
        torch.stack([gate.weights for gate in gates]) if gates else None,
        tuple(gate.threshold for gate in gates) if raised else (),
        tuple(sites.sink_bound(layer, section.sink_ratio) for layer in plan.layers),
    )


def _gates(sites: Sites, along: Along, section: ReplaySection) -> list[Gate]:
    """What `raise` reads, and `cap` where both sorts of positions are to have one mean."""
    if section.mode == "raise":
        return [_gate(sites, layer, r, section) for layer, r in along]
    if section.mode != "cap" or section.centre != "both":
        return []
    found = []
    for layer, r in along:
        ends = sites.centre(layer, "ends")
        found.append(Gate(level_gate(r, ends, sites.centre(layer, "all")), ends, 0.0))
    return found


def _means(
    sites: Sites,
    along: Along,
    gates: Sequence[Gate],
    section: ReplaySection,
    given: Mapping[int, Float[Tensor, " d_model"]] | None,
) -> Float[Tensor, "n_edited d_model"]:
    means = torch.stack(
        [
            sites.centre(layer, section.centre) if given is None else given[layer]
            for layer, _ in along
        ]
    )
    if not section.has_offset:
        return means
    offset = 0.0 if section.offset == "auto" else section.offset
    read = [gate.weights for gate in gates] or [r for _, r in along]
    return means - offset * _steps(sites, along, read)


def _steps(
    sites: Sites, along: Along, read: Sequence[Float[Tensor, " d_model"]]
) -> Float[Tensor, "n_edited d_model"]:
    """Along each direction, one standard deviation of what is read where benign requests end."""
    return torch.stack(
        [
            (sites.reported_ends(layer) @ w).std() * r
            for (layer, r), w in zip(along, read, strict=True)
        ]
    )


def lowered(sites: Sites, intervention: Intervention, offset: float) -> Intervention:
    """The edit with its means moved further against the directions.

    Args:
        sites: Gives the ends of benign requests.
        intervention: Of a mode that has means.
        offset: In standard deviations of the ends along each direction, as `replay.offset`.
    """
    assert intervention.means is not None
    rows = intervention.directions
    read = rows if intervention.gates is None else intervention.gates
    steps = _steps(sites, list(zip(intervention.layers, rows, strict=True)), list(read))
    return replace(intervention, means=intervention.means - offset * steps)


def _gate(sites: Sites, layer: int, r: Tensor, section: ReplaySection) -> Gate:
    return fit_gate(
        r,
        sites.benign_ends("fit", layer),
        quantile=section.threshold,
        shrinkage=section.benign_shrinkage,
    )
