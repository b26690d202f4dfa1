"""Refusals shared by the whole package: a NaN or an empty axis never becomes a figure."""

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.errors import NumericsError


def require_finite(name: str, tensor: Float[Tensor, "..."]) -> None:
    """Raise unless every entry is finite.

    Formula: |t| < ∞ for all t.

    Args:
        name: What the tensor is, for the message.
        tensor: The tensor to look at.

    Raises:
        NumericsError: At least one entry is NaN or infinite.
    """
    n_bad = int((~torch.isfinite(tensor)).sum())
    if n_bad:
        raise NumericsError(
            f"{name} holds {n_bad} NaN or infinite entries out of {tensor.numel()}",
            expected="finite numbers only",
            fix="check the step that made it (half-precision overflow, an empty mean, a zero norm)",
        )


def unit_vector(name: str, vector: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """Scale a vector to unit norm, in float64.

    Formula: v / ‖v‖.

    Args:
        name: What the vector is, for the message.
        vector: Any finite vector that is not zero.

    Returns:
        The float64 unit vector.

    Raises:
        NumericsError: The vector is zero or not finite.
    """
    require_finite(name, vector)
    wide = vector.to(torch.float64)
    norm = float(wide.norm())
    if norm <= torch.finfo(torch.float32).tiny:
        raise NumericsError(
            f"{name} is the zero vector, so it has no direction",
            expected="a vector of positive norm",
            fix="leave this layer or condition out, or check the data that it was made from",
        )
    return wide / norm
