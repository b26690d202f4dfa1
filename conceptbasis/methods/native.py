"""The target's own directions: the bar that a transfer is measured against.

They are made from the target's own labels (budget B2), so they are read after the seal only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge

_SOURCE = "Arditi et al. 2024 (2406.11717)"


def native(bridge: Bridge, name: str) -> Iterator[Treatment]:
    """One of the target's own sets of directions, at every layer."""
    if name in bridge.native:
        yield Treatment(bridge.native_edit(name))


def native_early(bridge: Bridge) -> Iterator[Treatment]:
    """The single direction where it cannot be mere suppression of output words."""
    for treatment in native(bridge, "native"):
        yield from treatment.on(bridge.early)


NATIVE, NATIVE_PER_LAYER = (
    Method(
        name,
        "native",
        label,
        partial(native, name=name),
        reads_labels=True,
        at_equal_damage=True,
        compared=name == "native",
        source=_SOURCE,
    )
    for name, label in (
        ("native", "the target's own direction"),
        ("native_per_layer", "the target's own per-layer directions"),
    )
)

NATIVE_EARLY = Method(
    "native_early",
    "native",
    "the target's own direction below 0.8 of the depth",
    native_early,
    reads_labels=True,
    source=_SOURCE,
)
