"""The interventions themselves, as pure functions on activations and weights.

Directions need not be of exactly unit norm: they are normalised in at least float32 first, because
a direction stored in half precision would leave a component behind.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def ablate(
    h: Float[Tensor, "*batch d_model"], r: Float[Tensor, " d_model"], *, gamma: float = 1.0
) -> Float[Tensor, "*batch d_model"]:
    """Scale the component of activations along a direction by 1 − γ.

    Formula: h − γ r rᵀh: γ = 1 removes, 2 reflects, below 0 strengthens.

    Args:
        h: Activations.
        r: Direction, not zero.
        gamma: γ.

    Returns:
        The changed activations, in the dtype of h.

    Source: Arditi et al. 2024 (2406.11717), equation 4.
    """
    wide, unit = _widened(h, r)
    return torch.addcmul(wide, (wide @ unit)[..., None], unit, value=-gamma).to(h.dtype)


def affine(
    h: Float[Tensor, "*batch d_model"],
    r: Float[Tensor, " d_model"],
    mean: Float[Tensor, " d_model"],
    *,
    gamma: float = 1.0,
) -> Float[Tensor, "*batch d_model"]:
    """Scale how far activations lie from a reference mean along a direction by 1 − γ.

    Formula: h − γ r rᵀ(h − μ): γ = 1 sets the component to the mean's, below 0 strengthens.

    Args:
        h: Activations.
        r: Direction, not zero.
        mean: Benign mean activation of the same layer.
        gamma: γ.

    Returns:
        The changed activations, in the dtype of h.

    Source: Marshall et al. 2024 (2411.09003), affine concept editing.
    """
    wide, unit = _widened(h, r)
    along = (wide - mean.to(wide)) @ unit
    return torch.addcmul(wide, along[..., None], unit, value=-gamma).to(h.dtype)


def cap(
    h: Float[Tensor, "*batch d_model"],
    r: Float[Tensor, " d_model"],
    mean: Float[Tensor, " d_model"],
    *,
    gamma: float = 1.0,
    gate: Float[Tensor, " d_model"] | None = None,
) -> Float[Tensor, "*batch d_model"]:
    """Take back what activations exceed a reference mean by along a direction, by the share γ.

    Formula: h − γ r max(0, wᵀ(h − μ)), w = r without a gate: with γ = 1 no component is larger than
    the mean's, and those that are smaller stay. `affine` raises the smaller ones to the mean too.

    Args:
        h: Activations.
        r: Direction, not zero.
        mean: Benign mean activation of the same layer.
        gamma: γ.
        gate: w, what is read, with wᵀr = 1; None reads along the direction.

    Returns:
        The changed activations, in the dtype of h.

    Source: activation capping, Lu et al. 2026 (2601.10387).
    """
    read = _widened(h, r)[1] if gate is None else gate
    return raise_above(h, r, read, mean, 0.0, gamma=gamma)


def raise_above(
    h: Float[Tensor, "*batch d_model"],
    r: Float[Tensor, " d_model"],
    gate: Float[Tensor, " d_model"],
    mean: Float[Tensor, " d_model"],
    threshold: float,
    *,
    gamma: float,
) -> Float[Tensor, "*batch d_model"]:
    """Push activations along a direction by what they exceed a threshold by, and no others.

    Formula: h − γ r max(0, wᵀ(h − μ) − t), γ below 0: what lies at or below t stays as it is.

    Args:
        h: Activations.
        r: Direction that is written, not zero.
        gate: w, what is read; its scale is kept.
        mean: μ, where the reading is 0.
        threshold: t, in units of the reading.
        gamma: γ.

    Returns:
        The changed activations, in the dtype of h.

    Source: the affine edit of Marshall et al. 2024 (2411.09003); the threshold is ours.
    """
    wide, unit = _widened(h, r)
    excess = ((wide - mean.to(wide)) @ gate.to(wide) - threshold).relu()
    return torch.addcmul(wide, excess[..., None], unit, value=-gamma).to(h.dtype)


def add(
    h: Float[Tensor, "*batch d_model"], r: Float[Tensor, " d_model"], amount: float
) -> Float[Tensor, "*batch d_model"]:
    """Add a multiple of a direction to activations.

    Formula: h + α r.

    Args:
        h: Activations.
        r: Direction, not zero.
        amount: α, in units of the residual stream; negative subtracts.

    Returns:
        The moved activations, in the dtype of h.

    Source: Arditi et al. 2024 (2406.11717), equation 3.
    """
    wide, unit = _widened(h, r)
    return (wide + amount * unit).to(h.dtype)


def orthogonalise(
    W: Float[Tensor, "d_model d_in"], r: Float[Tensor, " d_model"], *, gamma: float = 1.0
) -> Float[Tensor, "d_model d_in"]:
    """Change what a weight matrix writes along a direction.

    Formula: W − γ r (rᵀW): γ = 1 removes, 2 reflects, below 0 strengthens.

    Args:
        W: A writer of the residual stream, output side first.
        r: Direction, not zero.
        gamma: γ.

    Returns:
        The changed weights, in the dtype of W.

    Source: Arditi et al. 2024 (2406.11717), equation 5; γ from Cristofano 2026 (2601.16034).
    """
    wide, unit = _widened(W, r)
    return (wide - gamma * torch.outer(unit, unit @ wide)).to(W.dtype)


def _widened(
    tensor: Float[Tensor, "..."], r: Float[Tensor, " d_model"]
) -> tuple[Float[Tensor, "..."], Float[Tensor, " d_model"]]:
    """The tensor in at least float32, and the direction at unit norm beside it."""
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    direction = r.to(wide)
    return wide, direction / direction.norm()
