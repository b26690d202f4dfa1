"""The search for best partners on an accelerator: dense blocks, where dense products are cheap."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
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
    left, right = ([_cut(pair[i], device) for pair in batches] for i in (0, 1))
    target_best = _none(target.shape[1], k, device)
    donor_best = []
    for i, rows in enumerate(_blocks(donor.shape[1])):
        own = _none(rows.stop - rows.start, k, device)
        for j, columns in enumerate(_blocks(target.shape[1])):
            cross = sum(_products(a[i], b[j]) for a, b in zip(left, right, strict=True)) / weight
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


@dataclass(frozen=True)
class _Block:
    """Active codes of some features on the device, by site; a dense form would not fit."""

    site: Int[Tensor, " nnz"]
    feature: Int[Tensor, " nnz"]
    value: Float[Tensor, " nnz"]
    n_sites: int
    n_features: int
    places: dict[int, slice]
    """Where the entries of a few thousand sites lie, by the first of these sites."""

    def dense(self, start: int) -> Float[Tensor, "_ n_features"]:
        """The codes of a few thousand sites from `start` on."""
        some, n_rows = self.places[start], min(_ROWS, self.n_sites - start)
        out = self.value.new_zeros(n_rows, self.n_features)
        out[self.site[some] - start, self.feature[some]] = self.value[some]
        return out


def _cut(codes: scipy.sparse.csr_matrix, device: str | torch.device) -> list[_Block]:
    """The codes of one side by blocks of features."""
    by_feature = codes.tocsc()
    found = []
    for columns in _blocks(codes.shape[1]):
        part = by_feature[:, columns].tocsr().tocoo()
        site, feature, value = (torch.from_numpy(a) for a in (part.row, part.col, part.data))
        n_sites, n_features = part.shape
        starts = range(0, n_sites, _ROWS)
        ends = np.searchsorted(part.row, [*starts, n_sites]).tolist()
        found.append(
            _Block(
                site.long().to(device),
                feature.long().to(device),
                value.double().to(device),
                n_sites,
                n_features,
                dict(zip(starts, map(slice, ends, ends[1:]), strict=True)),
            )
        )
    return found


def _products(a: _Block, b: _Block) -> Float[Tensor, "block_a block_b"]:
    """Σ_s z_s z'_sᵀ, a few thousand sites at a time."""
    total = a.value.new_zeros(a.n_features, b.n_features)
    for start in a.places:
        total += a.dense(start).T @ b.dense(start)
    return total


def _better(best: Best, r: Float[Tensor, "d block"], first: int, k: int) -> Best:
    """The k best of a list and a block of later features; of equal ones the earlier stays first."""
    later = torch.arange(first, first + r.shape[1], device=r.device).expand(r.shape)
    ids, values = torch.cat([best[0], later], 1), torch.cat([best[1], r.clamp(min=0)], 1)
    order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
    ids, values = ids.gather(1, order), values.gather(1, order)
    return torch.where(values > 0, ids, -1), values
