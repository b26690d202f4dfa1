"""Which layer's direction each edited layer gets: decided once, by the transfer, and stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conceptbasis.errors import InterventionError

LayerPair = tuple[int, int]
"""Target layer, donor layer."""


@dataclass(frozen=True)
class LayerPlan:
    """Whose direction each edited layer gets.

    Args:
        source: (edited layer, layer whose direction it gets), by rising edited layer.
    """

    source: tuple[LayerPair, ...]

    @classmethod
    def per_layer(cls, layers: Iterable[int]) -> LayerPlan:
        """Each layer has a direction of its own."""
        return cls(tuple((layer, layer) for layer in sorted(layers)))

    @classmethod
    def single(cls, layers: Iterable[int], source: int) -> LayerPlan:
        """One layer's direction is used at all layers."""
        return cls(tuple((layer, source) for layer in sorted(layers)))

    @property
    def layers(self) -> tuple[int, ...]:
        """The edited layers."""
        return tuple(layer for layer, _ in self.source)

    @property
    def sources(self) -> tuple[int, ...]:
        """The layers whose directions are used, each once."""
        return tuple(sorted({source for _, source in self.source}))

    @property
    def shared(self) -> int | None:
        """The layer whose direction all edited layers get; None where they have their own."""
        differ = any(layer != source for layer, source in self.source)
        return self.sources[0] if len(self.sources) == 1 and differ else None

    def restrict(self, layers: Iterable[int]) -> LayerPlan:
        """The plan on some of its layers.

        Raises:
            InterventionError: if none of them is edited.
        """
        wanted = set(layers)
        kept = tuple(pair for pair in self.source if pair[0] in wanted)
        if not kept:
            raise InterventionError(
                f"none of the layers {sorted(wanted)} is edited by this transfer",
                expected=f"some of {list(self.layers)}",
                fix="choose other layers (key replay.layers)",
            )
        return LayerPlan(kept)

    def below(self, limit: int) -> LayerPlan:
        """The plan on the layers below a limit."""
        return self.restrict(range(limit))

    def displaced(self, available: Sequence[int]) -> LayerPlan:
        """The same edited layers with the directions of the layers farthest from where they belong.

        Args:
            available: Layers that have a direction.
        """
        if self.shared is not None:
            source = self.sources[0]
            return LayerPlan.single(self.layers, max(available, key=lambda n: abs(n - source)))

        def far(layer: int) -> int:
            return max(available, key=lambda n: (abs(n - layer), n))

        return LayerPlan(tuple((layer, far(layer)) for layer in self.layers))
