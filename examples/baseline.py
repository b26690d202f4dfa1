"""A baseline in one file: the direction in which the target's benign requests differ most.

It takes nothing from the donor, so it says what an edit along any strong direction does.

    conceptbasis demo --set extensions='[examples/baseline.py]'
"""

from __future__ import annotations

import torch

from conceptbasis.core.directions.rebuild import dense_rebuilt
from conceptbasis.methods import register
from conceptbasis.methods.base import Method, Moved


def benign_component(bridge, pair) -> Moved:
    """The first principal component of the target's residuals where benign requests end."""
    x = bridge.sites.benign_ends("fit", pair[0]).double()
    component = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[0]
    own = bridge.direction.per_layer[pair[1]]
    choice = bridge.rebuilder.fixed(dense_rebuilt(component), pair, own)
    return Moved.of(pair, choice)


register(Method("benign_component", "baseline", "largest benign variance", move=benign_component))
