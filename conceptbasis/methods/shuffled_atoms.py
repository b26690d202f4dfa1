"""The recipe's coefficients on random matched latents: does it matter which latents it names?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from conceptbasis.methods.bridge import Bridge
    from conceptbasis.results.layers import LayerPair


def shuffled_atoms(bridge: Bridge) -> Iterator[Treatment]:
    """One draw after the other, rebuilt by the route of the transfer."""
    for draw in count():
        rebuilt = {pair[0]: _shuffled(bridge, pair, draw) for pair in bridge.used_pairs}
        yield Treatment(bridge.edit_along(bridge.edit.plan, rebuilt))


def _shuffled(bridge: Bridge, pair: LayerPair, draw: int) -> Float[Tensor, " d_target"]:
    import torch

    generator = bridge.generator("shuffled_atoms", draw, pair[0])
    eligible, recipe = bridge.matches[pair].eligible_donor, bridge.recipes[pair[0]]
    order = torch.randperm(len(eligible), generator=generator)[: len(recipe.feature_ids)]
    return bridge.rebuilt(pair, replace(recipe, feature_ids=eligible[order]))


SHUFFLED_ATOMS = Method(
    "shuffled_atoms",
    "control",
    "the recipe's coefficients on other latents",
    shuffled_atoms,
    draws=lambda section: section.n_shuffled,
    at_equal_damage=True,
)
