"""The search for best partners on an accelerator: dense blocks, where dense products are cheap."""

from collections.abc import Iterator, Sequence

import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Tensor

_ROWS = 8192
_BLOCK = 2048
"""Sites and features of a block: codes of 128 MiB a side in float64, sums of 32 MiB."""

Best = tuple[Int[Tensor, "_ k"], Float[Tensor, "_ k"]]
"""Ids and correlations of the best partners so far."""


def dense_best_partners(
    batches: Sequence[tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]],
    weight: float,
    donor: Float[Tensor, "2 d_donor"],
    target: Float[Tensor, "2 d_target"],
    *,
    k: int,
    device: str | torch.device,
) -> tuple[Best, Best]:
    """Find the k best partners of every feature from products of blocks of dense codes.

    Formula: as in `best_partners`; products in float64, which data-centre GPUs have tensor cores
    for, so that the partners are the same.

    Args:
        batches: Codes of both sides at the same sites.
        weight: Total weight of the sites; the donor's codes are weighted already.
        donor: Mean and 1/σ of the donor's features; 1/σ = 0 leaves a feature out.
        target: The same of the target's.
        k: How many partners each feature may name.
        device: Where the products are made.

    Returns:
        The donor's and the target's partners, on the CPU; −1 and 0 where there are fewer than k.
    """
    sides = [side.to(device) for side in (donor, target)]
    target_best = _none(target.shape[1], k, device)
    donor_best = []
    for rows in _blocks(donor.shape[1]):
        own = _none(rows.stop - rows.start, k, device)
        left = [z[:, rows] for z, _ in batches]
        for columns in _blocks(target.shape[1]):
            right = [z[:, columns] for _, z in batches]
            cross = sum(_products(a, b, device) for a, b in zip(left, right, strict=True)) / weight
            (mean, scale), (other_mean, other_scale) = sides[0][:, rows], sides[1][:, columns]
            r = (cross - torch.outer(mean, other_mean)) * torch.outer(scale, other_scale)
            own = _better(own, r, columns.start, k)
            part = (target_best[0][columns], target_best[1][columns])
            new = _better(part, r.T, rows.start, k)
            target_best[0][columns], target_best[1][columns] = new
        donor_best.append(own)
    ids, r = (torch.cat([part[i] for part in donor_best]).cpu() for i in (0, 1))
    return (ids, r), (target_best[0].cpu(), target_best[1].cpu())


def _blocks(d: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, d)) for start in range(0, d, _BLOCK))


def _none(d: int, k: int, device: str | torch.device) -> Best:
    ids = torch.full((d, k), -1, dtype=torch.int64, device=device)
    return ids, torch.zeros(d, k, dtype=torch.float64, device=device)


def _products(
    a: scipy.sparse.csr_matrix, b: scipy.sparse.csr_matrix, device: str | torch.device
) -> Float[Tensor, "block_a block_b"]:
    """Σ_s z_s z'_sᵀ, a few thousand sites at a time."""
    total = torch.zeros(a.shape[1], b.shape[1], dtype=torch.float64, device=device)
    for start in range(0, a.shape[0], _ROWS):
        x, y = (
            torch.from_numpy(z[start : start + _ROWS].toarray()).to(device, torch.float64)
            for z in (a, b)
        )
        total += x.T @ y
    return total


def _better(best: Best, r: Float[Tensor, "d block"], first: int, k: int) -> Best:
    """The k best of a list and a block of later features; of equal ones the earlier stays first."""
    later = torch.arange(first, first + r.shape[1], device=r.device).expand(r.shape)
    ids, values = torch.cat([best[0], later], 1), torch.cat([best[1], r.clamp(min=0)], 1)
    order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
    ids, values = ids.gather(1, order), values.gather(1, order)
    return torch.where(values > 0, ids, -1), values
