"""The guard: directions that the model's own writers use most are kept out of an edit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from conceptbasis.core.statistics.finite import require_finite, unit_vector
from conceptbasis.errors import NumericsError

# Widest stream for which the Gram of the writers is diagonalised exactly.
EXACT_UP_TO = 4096
OVERSAMPLING = 16
POWER_STEPS = 8


@dataclass(frozen=True)
class Guarded:
    """The direction outside the guarded subspace, and how much of it the subspace took.

    `overlap_energy` is ‖U₁:ₖᵀr‖²/‖r‖² and `removed_norm` its square root.
    """

    direction: Float[Tensor, " d_model"]
    overlap_energy: float
    removed_norm: float


def guard_basis(
    writers: Sequence[Float[Tensor, "d_model _"]],
    *,
    k: int,
    generator: Generator | None = None,
    exact_up_to: int = EXACT_UP_TO,
) -> Float[Tensor, "d_model k"]:
    """Compute the output directions in which a layer's residual writers are strongest.

    Formula: the k leading left singular vectors of [W₁/‖W₁‖_F, W₂/‖W₂‖_F, …], joined along the
    input side. Left, because the edit acts on what is written.

    Args:
        writers: Weights that write to the residual stream, output side first.
        k: Number of directions.
        generator: Draws the test matrix of the randomised form, needed above exact_up_to.
        exact_up_to: Largest d_model for the exact form.

    Returns:
        Orthonormal columns, strongest first, float32.

    Raises:
        NumericsError: No writer, a zero or non-finite writer, k outside [0, d_model], or no
            generator where one is needed.

    Source: Cristofano 2026 (2601.16034), weight guard, with the orientation corrected; randomised
    form: Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    scaled = [_unit_frobenius(index, writer) for index, writer in enumerate(writers)]
    if not scaled or not 0 <= k <= scaled[0].shape[0]:
        raise NumericsError(
            f"a guard of {k} directions over {len(scaled)} writers is not defined",
            expected="at least one writer, and k between 0 and d_model",
            fix="name the residual writers of the layer, or lower k",
        )
    d_model = scaled[0].shape[0]
    if k == 0:
        return torch.zeros(d_model, 0)
    if d_model <= exact_up_to:
        gram = torch.zeros(d_model, d_model, dtype=torch.float64)
        for writer in scaled:
            gram += writer @ writer.T
        return torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :k].float()
    if generator is None:
        raise NumericsError(
            f"d_model = {d_model} needs the randomised guard, which needs a generator",
            expected="a torch.Generator",
            fix="pass generator=torch.Generator().manual_seed(seed)",
        )
    return _randomised_basis(scaled, k, generator).float()


def overlap_curve(
    r: Float[Tensor, " d_model"], U: Float[Tensor, "d_model k"]
) -> Float[Tensor, " k"]:
    """Compute how much of a direction lies in the first guard directions.

    Formula: c_m = ‖U₁:ₘᵀr‖² / ‖r‖² for m = 1 … k.

    Args:
        r: Direction, not zero.
        U: Orthonormal columns, strongest first.

    Returns:
        The non-decreasing curve.

    Raises:
        NumericsError: r is zero or not finite.
    """
    unit = unit_vector("guarded direction", r)
    return (U.to(torch.float64).T @ unit).square().cumsum(0)


def apply_guard(r: Float[Tensor, " d_model"], U: Float[Tensor, "d_model n"], *, k: int) -> Guarded:
    """Project a direction out of the first k guard directions.

    Formula: r_safe = (I − U₁:ₖU₁:ₖᵀ) r, at unit norm again.

    Args:
        r: Direction, not zero.
        U: Orthonormal columns, strongest first.
        k: How many of them to guard; 0 leaves the direction as it is.

    Returns:
        The guarded direction and its overlap with the guarded subspace.

    Raises:
        NumericsError: k exceeds the basis, r is zero, or nothing of r is left.

    Source: Cristofano 2026 (2601.16034), weight guard.
    """
    if not 0 <= k <= U.shape[1]:
        raise NumericsError(
            f"k = {k} guard directions asked of a basis of {U.shape[1]}",
            expected="k between 0 and the size of the basis",
            fix="compute the basis with a larger k",
        )
    unit = unit_vector("guarded direction", r)
    basis = U[:, :k].to(torch.float64)
    inside = basis.T @ unit
    remainder = unit - basis @ inside
    if float(remainder.norm()) < 1e-6:
        raise NumericsError(
            f"a guard of {k} directions leaves nothing of the direction",
            expected="a direction that is not inside the guarded subspace",
            fix="lower k, or run without the guard",
        )
    # The columns are orthonormal in float32 only: a second pass takes what the first one left.
    remainder = remainder - basis @ (basis.T @ remainder)
    energy = float(inside.square().sum())
    return Guarded((remainder / remainder.norm()).float(), energy, energy**0.5)


def _unit_frobenius(index: int, writer: Float[Tensor, "d_model d_in"]) -> Tensor:
    require_finite(f"writer {index}", writer)
    wide = writer.detach().to("cpu", torch.float64)
    norm = float(wide.norm())
    if norm == 0:
        raise NumericsError(
            f"writer {index} is all zeros",
            expected="weights that write something",
            fix="leave the writer out of the guard",
        )
    return wide / norm


def _randomised_basis(writers: list[Tensor], k: int, generator: Generator) -> Tensor:
    """Leading left singular vectors by subspace iteration, without joining the writers."""

    def gram_times(block: Tensor) -> Tensor:
        product = torch.zeros_like(block)
        for writer in writers:
            product += writer @ (writer.T @ block)
        return product

    d_model = writers[0].shape[0]
    width = min(k + OVERSAMPLING, d_model)
    block = torch.randn(d_model, width, generator=generator, dtype=torch.float64)
    for _ in range(POWER_STEPS):
        block = torch.linalg.qr(gram_times(block)).Q
    vectors = torch.linalg.eigh(block.T @ gram_times(block)).eigenvectors
    return block @ vectors.flip(1)[:, :k]
