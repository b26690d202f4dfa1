"""Refusal against damage: strengths of equal damage, areas, and values at one damage.

Damage is a first-token KL or a rise of perplexity. Both grow with the square of a small strength,
so everything is interpolated, and integrated, over the square root of the damage.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError


def strength_at(
    strengths: Sequence[float], damages: Sequence[float], level: float
) -> tuple[float, bool]:
    """The least strength that does a given damage.

    Args:
        strengths: Strengths that were tried, ascending and above 0; strength 0 does no damage.
        damages: The damage of each; below 0 (a gain) counts as none.
        level: The wanted damage, above 0.

    Returns:
        The interpolated strength and True, or the largest strength and False if none does so much.

    Raises:
        NumericsError: No strengths, other lengths, or values that are not finite.
    """
    x = torch.tensor([0.0, *strengths], dtype=torch.float64)
    y = _root([0.0, *damages])
    _require_equal(x, y)
    wanted = level**0.5
    for i in range(1, len(y)):
        if y[i] >= wanted:
            share = (wanted - y[i - 1]) / (y[i] - y[i - 1])
            return float(x[i - 1] + share * (x[i] - x[i - 1])), True
    return float(x[-1]), False


def largest_within(
    damage: Callable[[float], float],
    level: float,
    *,
    start: float,
    limit: float,
    halvings: int = 5,
) -> tuple[float, float, bool]:
    """The largest strength whose damage stays within a level, by doubling and then halving.

    Args:
        damage: The damage of a strength, growing with it.
        level: The bound on it, above 0.
        start: The first strength tried, above 0.
        limit: No strength beyond it is tried.
        halvings: How often the interval that holds the answer is halved.

    Returns:
        The strength (0 if even small ones do more), its damage, and whether the bound was met with
        less than the limit.

    Raises:
        NumericsError: A damage that is not finite.
    """
    low, low_damage, high = 0.0, 0.0, start
    while (found := _finite(damage(high))) <= level:
        low, low_damage = high, found
        if high >= limit:
            return low, low_damage, False
        high = min(2 * high, limit)
    for _ in range(halvings):
        middle = (low + high) / 2
        found = _finite(damage(middle))
        if found <= level:
            low, low_damage = middle, found
        else:
            high = middle
    return low, low_damage, True


def _finite(damage: float) -> float:
    require_finite("a damage", torch.tensor(damage))
    return damage


def area_weights(levels: Sequence[float]) -> Float[Tensor, " n_levels_and_0"]:
    """Weights w with Σ w_i v_i the mean of v over √damage, for values at 0 and at each level.

    Formula: the trapezoidal rule on the points √0, √level_1, …, divided by √level_n.

    Args:
        levels: Damages, ascending and above 0.

    Raises:
        NumericsError: No levels, or levels that do not ascend from above 0.
    """
    x = _root([0.0, *levels])
    steps = x.diff()
    if not len(steps) or not bool((steps > 0).all()):
        raise NumericsError(
            f"levels of damage {list(levels)}",
            expected="one or more, ascending, above 0",
            fix="correct curve.kl_levels",
        )
    weights = torch.zeros_like(x)
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    return weights / x[-1]


def level_where(
    levels: Sequence[float], values: Sequence[float], start: float, threshold: float
) -> float | None:
    """The least damage at which a curve that begins at `start` first reaches a threshold.

    Args:
        levels: Damages, ascending and above 0.
        values: The curve at each.
        start: The curve at no damage.
        threshold: The value looked for, on either side of `start`.

    Returns:
        The interpolated damage, or None if the curve does not reach it.

    Raises:
        NumericsError: Other lengths, or values that are not finite.
    """
    x, y = _root([0.0, *levels]), torch.tensor([start, *values], dtype=torch.float64)
    _require_equal(x, y)
    sign = 1.0 if start >= threshold else -1.0
    for i in range(1, len(y)):
        if sign * (y[i] - threshold) <= 0:
            share = (threshold - y[i - 1]) / (y[i] - y[i - 1]) if y[i] != y[i - 1] else 0.0
            return float((x[i - 1] + share * (x[i] - x[i - 1])) ** 2)
    return None


def value_at(levels: Sequence[float], values: Sequence[float], start: float, level: float) -> float:
    """A curve that begins at `start`, read at a damage; beyond the last level, its last value.

    Args:
        levels: Damages, ascending and above 0.
        values: The curve at each.
        start: The curve at no damage.
        level: Where to read it.

    Raises:
        NumericsError: Other lengths, or values that are not finite.
    """
    x, y = _root([0.0, *levels]), torch.tensor([start, *values], dtype=torch.float64)
    _require_equal(x, y)
    wanted = level**0.5
    for i in range(1, len(x)):
        if wanted <= x[i]:
            share = (wanted - x[i - 1]) / (x[i] - x[i - 1])
            return float(y[i - 1] + share * (y[i] - y[i - 1]))
    return float(y[-1])


def _root(damages: Sequence[float]) -> Float[Tensor, " n"]:
    return torch.tensor(list(damages), dtype=torch.float64).clamp(min=0).sqrt()


def _require_equal(x: Tensor, y: Tensor) -> None:
    if len(x) != len(y) or len(x) < 2:
        raise NumericsError(
            f"a curve of {len(x) - 1} and {len(y) - 1} points",
            expected="equally many, and at least one",
            fix="give one value per point",
        )
    require_finite("the points of a curve", torch.cat([x, y]))
