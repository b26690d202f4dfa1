"""Stage `guard`: keeps rebuilt directions out of the target's high-variance weight subspaces."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from conceptbasis.core.directions.guard import overlap_curve
from conceptbasis.edits.guard import choose_guard, describe
from conceptbasis.edits.intervention import apply_intervention
from conceptbasis.edits.strength import settled_edit
from conceptbasis.results.edit import Guarded, GuardedLayer
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.recipe import Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def guard(study: Study, harvest: Harvest, transfer: Transfer) -> Guarded:
    """The smallest guard under which the transfer's edit leaves benign perplexity alone."""
    plan, sites = transfer.plan, study.sites(harvest)
    by_layer = transfer.by_layer()
    directions = torch.stack([by_layer[source] for _, source in plan.source])

    def under(safe: Tensor) -> AbstractContextManager[Any]:
        edit, _ = settled_edit(study, sites, plan, safe)
        return apply_intervention(study.target.loaded, edit)

    found = choose_guard(study, sites, plan.layers, directions, under)
    study.reporter.say(describe(found))
    curves = [overlap_curve(r, u) for r, u in zip(directions, found.bases, strict=True)]
    rows = tuple(
        GuardedLayer(layer, tuple(curve.tolist()), float(curve[found.k - 1]) if found.k else 0.0)
        for layer, curve in zip(plan.layers, curves, strict=True)
    )
    return Guarded(
        found.share,
        found.k,
        found.within,
        found.baseline,
        {str(share): p for share, p in found.by_share.items()},
        rows,
        found.directions,
        torch.stack(list(found.bases)),
    )


GUARD = Stage(
    "guard",
    Guarded,
    guard,
    needs=(Harvest, Transfer),
    sources=("target",),
    config=("guard", "replay"),
)
