"""How far an edit lies along the target's own way of saying no, as benign text shows it.

An edit of any behavior that leans on that direction may weaken or strengthen safety beside what it
was made for. The direction comes from a benign concept: polite answers that turn a harmless request
down, against harmless requests that are answered. No label of the target is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from conceptbasis.behaviors import SAFETY_CONCEPT
from conceptbasis.results.edit import Replayed
from conceptbasis.results.matching import Alignment
from conceptbasis.runs.graph import load_result
from conceptbasis.runs.seeds import generator

N_RANDOM = 4000
_LEVEL = 0.05


@dataclass(frozen=True)
class LayerOverlap:
    """Overlap of one layer's edit.

    Args:
        layer: Edited layer.
        cosine: With the concept's difference of means in that layer.
        null: What 95 % of random directions stay below, without its sign.
        p: Share of random directions that overlap as much, without its sign.
    """

    layer: int
    cosine: float
    null: float
    p: float


@dataclass(frozen=True)
class SafetyOverlap:
    """Overlap of an edit with the concept, by edited layer."""

    concept: str
    layers: tuple[LayerOverlap, ...]

    @property
    def significant(self) -> tuple[LayerOverlap, ...]:
        """Layers that overlap more than random directions do, at 0.05 over all layers."""
        return tuple(row for row in self.layers if row.p <= _LEVEL / len(self.layers))


def overlap_with(
    directions: Float[Tensor, "n_edited d_model"],
    concept: Float[Tensor, "n_edited d_model"],
    layers: tuple[int, ...],
    *,
    drawn: Generator,
) -> tuple[LayerOverlap, ...]:
    """Cosines of an edit with a concept, beside those of random directions.

    Args:
        directions: Of the edit, one row per edited layer.
        concept: The concept's difference of means in the same layers.
        layers: Their indices.
        drawn: The source of random directions.
    """
    d_model = directions.shape[1]
    random = torch.randn(N_RANDOM, d_model, generator=drawn, dtype=torch.float64)
    random = random / random.norm(dim=1, keepdim=True)
    found = []
    for layer, r, c in zip(layers, directions.double(), concept.double(), strict=True):
        unit = c / c.norm().clamp(min=1e-12)
        cosine = float(r @ unit / r.norm().clamp(min=1e-12))
        chance = (random @ unit).abs()
        p = (1 + int((chance >= abs(cosine)).sum())) / (1 + N_RANDOM)
        found.append(LayerOverlap(layer, cosine, float(chance.quantile(0.95)), p))
    return tuple(found)


def safety_overlap(run: Path, seed: int = 0) -> SafetyOverlap | None:
    """The overlap of a finished run's edit; None where its budget did not allow the concept.

    Args:
        run: A run folder whose edit is made.
        seed: Of the random directions.

    Raises:
        ArtifactError: if the edit is not made yet, or a file is corrupt.
    """
    align = load_result(run, "align", Alignment)
    if SAFETY_CONCEPT not in align.concepts or "target" not in align.concept_directions:
        return None
    edit = load_result(run, "replay", Replayed)
    layers = edit.plan.layers
    place = align.concepts.index(SAFETY_CONCEPT)
    concept = align.concept_directions["target"][list(layers), place]
    rows = overlap_with(
        edit.directions, concept, layers, drawn=generator(seed, "overlap with", SAFETY_CONCEPT)
    )
    return SafetyOverlap(SAFETY_CONCEPT, rows)
