"""The donor under its own direction, as the edit of its target is under the transferred one."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from conceptbasis.edits.intervention import Intervention
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Replayed
from conceptbasis.results.harvest import Norms
from conceptbasis.results.layers import LayerPlan
from conceptbasis.results.recipe import Transfer


def donor_intervention(
    direction: DonorDirection,
    transfer: Transfer,
    replayed: Replayed,
    norms: Mapping[int, Norms],
    sink_ratio: float | None,
) -> Intervention:
    """The edit of the donor that a run's edit of the target answers to.

    Formula: h − γ r rᵀ(h − μ) after the donor layers that stand for the edited target layers, with
    the donor's own direction r and μ its mean where benign requests end. γ is 1 where the run
    takes the behavior away and −1 where it strengthens it.

    Args:
        direction: The donor's own directions and ends of requests.
        transfer: Which donor layer stands for which target layer.
        replayed: The edit of the target.
        norms: Norms of the donor's stream by layer.
        sink_ratio: How many times the median norm an attention sink has.
    """
    donor_of = dict(transfer.layer_map)
    layers = sorted({donor_of[layer] for layer in replayed.plan.layers if layer in donor_of})
    sources = sorted({donor_of[layer] for layer in replayed.plan.sources})
    layers = layers or sources
    shared = len(sources) == 1 and replayed.plan.shared is not None
    plan = LayerPlan.single(layers, sources[0]) if shared else LayerPlan.per_layer(layers)
    strengthens = replayed.gamma < 0 or (replayed.mode == "add" and sum(replayed.amounts) > 0)
    bounds = (norms[n].bound(sink_ratio) if n in norms else None for n in layers)
    return Intervention(
        plan,
        torch.stack([direction.per_layer[source] for _, source in plan.source]),
        "affine",
        gamma=-1.0 if strengthens else 1.0,
        means=torch.stack([direction.negative[layer].mean(0) for layer in layers]),
        max_norms=tuple(bounds),
    )
