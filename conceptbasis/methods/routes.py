"""The transfer, its recipe by the other routes, and the transfer without its guard."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge


def transfer(bridge: Bridge) -> Iterator[Treatment]:
    """The finished edit."""
    yield Treatment(bridge.edit)


def other_route(bridge: Bridge, route: str) -> Iterator[Treatment]:
    """The same recipe by a route that the transfer did not take, without a guard."""
    if route != bridge.transfer.route:
        yield Treatment(bridge.unguarded(route))


def no_guard(bridge: Bridge) -> Iterator[Treatment]:
    """The transfer's own route, without a guard."""
    yield Treatment(bridge.unguarded(bridge.transfer.route))


TRANSFER = Method("transfer", "transfer", "transfer", transfer, at_equal_damage=True, compared=True)

CODE_MAP, TRANSPORTED, MATCHED = (
    Method(name, "route", label, partial(other_route, route=name), at_equal_damage=True)
    for name, label in (
        ("code_map", "route code_map: a ridge map of latent codes"),
        ("transported", "route transported: reads of matched latents"),
        ("matched", "route matched: decoder rows of matched latents"),
    )
)

NO_GUARD = Method("no_guard", "ablation", "directions without the guard", no_guard)
