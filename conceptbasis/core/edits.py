"""The four edit formulas."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def ablate(h: Float[Tensor, "... d_model"], r: Float[Tensor, " d_model"]) -> Tensor:
    """h - r rᵀh."""
    return h - (h @ r)[..., None] * r


def affine(h: Float[Tensor, "... d_model"], r: Tensor, mean: Tensor) -> Tensor:
    """h - r rᵀ(h - mean)."""
    return h - ((h - mean) @ r)[..., None] * r


def add(h: Float[Tensor, "... d_model"], r: Tensor, amount: float) -> Tensor:
    """h + amount r."""
    return h + amount * r


def orthogonalise(W: Float[Tensor, "d_model d_in"], r: Tensor, gamma: float = 1.0) -> Tensor:
    """W - gamma r rᵀW."""
    return W - gamma * r[:, None] * (r @ W)[None, :]
