"""The direction of a behavior in one model: difference of means, its probe, and its selection."""

import math
from collections import Counter
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from conceptbasis.core.directions.selection import Candidate, Selection
from conceptbasis.core.statistics.finite import require_finite, unit_vector
from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class Direction:
    """A unit direction with the norm that it had as a difference of means."""

    unit: Float[Tensor, " d_model"]
    norm: float


def difference_of_means(
    positive: Float[Tensor, "n_positive d_model"], negative: Float[Tensor, "n_negative d_model"]
) -> Direction:
    """Compute the direction from negative to positive prompts.

    Formula: r = (μ₊ − μ₋) / ‖μ₊ − μ₋‖, means in float64.

    Args:
        positive: Residuals at one layer and position, one row per positive prompt.
        negative: The same for negative prompts.

    Returns:
        The unit direction (float32) and the norm of the difference.

    Raises:
        NumericsError: A side is empty or not finite, or the means coincide up to rounding, as they
            do where every prompt has the same token and no context yet.

    Source: Arditi et al. 2024 (2406.11717), section 2.3.
    """
    difference = mean_difference(positive, negative)
    norm = float(difference.norm())
    scale = float(torch.linalg.vector_norm(negative, dim=1, dtype=torch.float32).mean())
    if norm <= 1e-7 * scale:
        raise NumericsError(
            f"the two means are {norm:.1e} apart, which is rounding",
            expected="prompt sets whose mean residuals differ",
            fix="leave this layer and position out: nothing there tells the sets apart",
        )
    return Direction(unit_vector("difference of means", difference).float(), norm)


def mean_difference(
    positive: Float[Tensor, "n_p d"], negative: Float[Tensor, "n_n d"]
) -> Float[Tensor, " d"]:
    """Compute the difference of two means in float64.

    Formula: μ_positive − μ_negative.

    Args:
        positive: Rows of the class with the behaviour.
        negative: Rows of the class without it.

    Returns:
        The unnormalised float64 difference.

    Raises:
        NumericsError: A side is empty or not finite.
    """
    for name, rows in (("positive rows", positive), ("negative rows", negative)):
        require_finite(name, rows)
        if rows.shape[0] == 0:
            raise NumericsError(
                f"the mean of no {name} is not defined",
                expected="at least one row on either side",
                fix="check the prompt sets and the sites that were kept",
            )
    means = [rows.detach().to("cpu", torch.float64).mean(0) for rows in (positive, negative)]
    return means[0] - means[1]


def probe_accuracy(
    positive: Float[Tensor, "n_positive d_model"],
    negative: Float[Tensor, "n_negative d_model"],
    *,
    generator: Generator,
    n_folds: int = 5,
) -> float:
    """Compute how well the difference of means tells held-out prompts apart.

    Formula: per fold, r and the midpoint m = rᵀ(μ₊ + μ₋)/2 from the other folds; positive when
    rᵀx > m. The mean of the two classes' accuracies, so that unequal classes do not flatter.

    Args:
        positive: Residuals at one layer and position, one row per positive prompt.
        negative: The same for negative prompts.
        generator: Draws the folds.
        n_folds: Number of folds, at most the size of the smaller class.

    Returns:
        Balanced held-out accuracy; 0.5 is chance.

    Raises:
        NumericsError: A class has fewer prompts than folds, or a residual is not finite.
    """
    sizes = (positive.shape[0], negative.shape[0])
    if n_folds < 2 or min(sizes) < n_folds:
        raise NumericsError(
            f"{sizes[0]} positive and {sizes[1]} negative prompts cannot make {n_folds} folds",
            expected="at least two folds, and at least one prompt of either class in each",
            fix="use more prompts or fewer folds",
        )
    folds = [torch.randperm(n, generator=generator) % n_folds for n in sizes]
    rows = [side.detach().to("cpu", torch.float64) for side in (positive, negative)]
    right = [0, 0]
    for fold in range(n_folds):
        fitted = [side[index != fold] for side, index in zip(rows, folds, strict=True)]
        direction = mean_difference(fitted[0], fitted[1])
        midpoint = (fitted[0].mean(0) + fitted[1].mean(0)) @ direction / 2
        held = [side[index == fold] @ direction for side, index in zip(rows, folds, strict=True)]
        right[0] += int((held[0] > midpoint).sum())
        right[1] += int((held[1] <= midpoint).sum())
    return (right[0] / sizes[0] + right[1] / sizes[1]) / 2


def select_direction(
    bypass: Float[Tensor, "n_positions n_layers"],
    induce: Float[Tensor, "n_positions n_layers"],
    kl: Float[Tensor, "n_positions n_layers"],
    *,
    measured: Bool[Tensor, "n_positions n_layers"] | None = None,
    max_kl: float = 0.1,
    min_induce: float = 0.0,
    layer_fraction: float = 0.8,
) -> Selection:
    """Pick the direction that removes the behavior best without side effects: the published rule.

    Formula: argmin bypass over candidates without NaN, with layer < ⌊L · layer_fraction⌋,
    kl ≤ max_kl and induce ≥ min_induce; the earlier position, then the lower layer, wins ties.

    Args:
        bypass: Log-odds of the behavior on positive prompts under ablation of the candidate.
        induce: The same on negative prompts under its addition.
        kl: First-token KL on negative prompts under its ablation.
        measured: Which candidates have these scores; the others are `screened`. None is all.
        max_kl: Largest KL that is allowed.
        min_induce: Least `induce` that is allowed.
        layer_fraction: Later layers are out, because an edit there can mute output words only.

    Returns:
        The pick, the counts of rejections, and the table of all candidates.

    Raises:
        NumericsError: There is no candidate at all.

    Source: Arditi et al. 2024 (2406.11717), appendix C; andyrdt/refusal_direction.
    """
    if bypass.numel() == 0:
        raise NumericsError(
            "there are no candidate directions",
            expected="at least one position and one layer",
            fix="score some candidates first",
        )
    n_positions, n_layers = bypass.shape
    last_layer = int(n_layers * layer_fraction)

    def reason(layer: int, scores: tuple[float, float, float] | None) -> str | None:
        if scores is not None and any(math.isnan(score) for score in scores):
            return "nan"
        if layer >= last_layer:
            return "layer"
        if scores is None:
            return "screened"
        if scores[2] > max_kl:
            return "kl"
        return "steering" if scores[1] < min_induce else None

    table = []
    for position in range(-n_positions, 0):
        for layer in range(n_layers):
            bypassed, induced, moved = (float(s[position, layer]) for s in (bypass, induce, kl))
            if measured is None or bool(measured[position, layer]):
                why = reason(layer, (bypassed, induced, moved))
                table.append(Candidate(position, layer, bypassed, induced, moved, why))
            else:
                table.append(Candidate(position, layer, None, None, None, reason(layer, None)))
    rejected = dict(Counter(row.reason for row in table if row.reason is not None))
    passed = [row for row in table if row.reason is None]
    if not passed:
        return Selection(False, None, None, rejected, max_kl, tuple(table))
    best = min(passed, key=lambda row: math.inf if row.bypass is None else row.bypass)
    return Selection(True, best.position, best.layer, rejected, max_kl, tuple(table))
