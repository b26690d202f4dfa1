"""Recipes of benign topics, sent through the same route: is it the behavior that the edit hits?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge


def unrelated_recipe(bridge: Bridge) -> Iterator[Treatment]:
    """One benign topic after the other; those without matched latents are no control."""
    for number in range(bridge.n_contrasts):
        rebuilt = bridge.benign_contrast(number)
        if rebuilt is not None:
            yield Treatment(bridge.edit_along(bridge.edit.plan, rebuilt))


UNRELATED_RECIPE = Method(
    "unrelated_recipe",
    "control",
    "recipes of unrelated topics",
    unrelated_recipe,
    draws=lambda section: section.n_unrelated,
    at_equal_damage=True,
)
