"""Batches of sites, sparse or dense, under one set of sums."""

from typing import TypeAlias

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError

Batch: TypeAlias = Tensor | scipy.sparse.csr_matrix


def require_shape(name: str, batch: Batch, d: int, n: int) -> None:
    """Raise unless a batch of sites is finite and has the expected shape (n, d)."""
    if tuple(batch.shape) != (n, d):
        raise NumericsError(
            f"{name} has shape {tuple(batch.shape)}",
            expected=f"({n}, {d})",
            fix="give both sides at the same sites, with the widths named at construction",
        )
    values = batch if isinstance(batch, Tensor) else torch.from_numpy(batch.data)
    require_finite(name, values)


def wide(batch: Batch) -> Batch:
    """Return the batch in float64 on the CPU, sparse as sparse."""
    if isinstance(batch, Tensor):
        return batch.detach().to("cpu", torch.float64)
    return batch.astype(np.float64)


def select_rows(batch: Batch, rows: Int[Tensor, " n_rows"]) -> Batch:
    """The batch at some of its sites."""
    return batch[rows] if isinstance(batch, Tensor) else batch[rows.numpy()]


def column_sums(batch: Batch) -> Float[Tensor, " d"]:
    """Sum a batch over sites."""
    if isinstance(batch, Tensor):
        return batch.sum(0)
    return torch.from_numpy(np.asarray(batch.sum(0)).ravel())


def squared(batch: Batch) -> Batch:
    """Square every entry, sparse as sparse."""
    return batch.square() if isinstance(batch, Tensor) else batch.multiply(batch).tocsr()


def cross(a: Batch, b: Batch) -> Float[Tensor, "d_a d_b"]:
    """aᵀb as a dense matrix, through sparse products wherever a side is sparse."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.T @ b
    if isinstance(a, Tensor):
        return torch.from_numpy(np.asarray(b.T @ a.numpy())).T
    if isinstance(b, Tensor):
        return torch.from_numpy(np.asarray(a.T @ b.numpy()))
    return torch.from_numpy((a.T.tocsr() @ b).toarray())
