"""Does a recipe come out the same from other prompts? Halves, and how alike what they give is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class Spread:
    """A figure over several splits: its mean, and the least and the most of it."""

    mean: float
    least: float
    most: float


def spread_of(values: Sequence[float]) -> Spread:
    """Summarise a figure over splits.

    Formula: mean, minimum and maximum.

    Args:
        values: One per split.

    Returns:
        The three numbers.

    Raises:
        NumericsError: No values.
    """
    if not values:
        raise NumericsError(
            "the spread of no values is not defined",
            expected="at least one split",
            fix="leave the figure out",
        )
    return Spread(sum(values) / len(values), min(values), max(values))


def split_halves(
    groups: Int[Tensor, " n"], generator: Generator
) -> tuple[Int[Tensor, " n_first"], Int[Tensor, " n_second"]]:
    """Split items at random so that no group stands in both halves.

    Formula: groups in random order, the first ⌊G/2⌋ to one half, the others to the other.

    Args:
        groups: Group of each item, for example its noun; items of one group stay together.
        generator: The source of randomness.

    Returns:
        Places of the items of either half, ascending.

    Raises:
        NumericsError: There are fewer than two groups.
    """
    names, index = groups.unique(return_inverse=True)
    if len(names) < 2:
        raise NumericsError(
            f"{len(names)} group of items cannot be split in two",
            expected="at least two groups",
            fix="use prompts about several nouns, or prompts without nouns",
        )
    first = torch.zeros(len(names), dtype=torch.bool)
    first[torch.randperm(len(names), generator=generator)[: len(names) // 2]] = True
    inside = first[index]
    return inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]


def jaccard(first: Int[Tensor, " n_first"], second: Int[Tensor, " n_second"]) -> float:
    """Tell how much of two supports is shared.

    Formula: |A ∩ B| / |A ∪ B|.

    Args:
        first: Ids, each once.
        second: Ids, each once.

    Returns:
        Between 0 and 1.

    Raises:
        NumericsError: Both are empty.

    Source: Jaccard 1912; as a measure of stable selection: Kalousis, Prados and Hilario 2007.
    """
    a, b = set(first.tolist()), set(second.tolist())
    if not a | b:
        raise NumericsError(
            "two empty supports have no overlap to measure",
            expected="at least one atom on either side",
            fix="leave the figure out where a side has no atoms",
        )
    return len(a & b) / len(a | b)


def cosine(first: Float[Tensor, " d"], second: Float[Tensor, " d"]) -> float:
    """Compute the cosine of two vectors in float64.

    Formula: aᵀb / (‖a‖ ‖b‖).

    Args:
        first: A vector.
        second: A vector of the same width.

    Returns:
        Between −1 and 1.

    Raises:
        NumericsError: One of them is zero.
    """
    a, b = first.double(), second.double()
    norms = float(a.norm() * b.norm())
    if norms == 0:
        raise NumericsError(
            "a zero vector has no direction",
            expected="two vectors that are not zero",
            fix="leave the layer out",
        )
    return max(-1.0, min(1.0, float(a @ b) / norms))
