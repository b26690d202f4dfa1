"""SVCCA from streamed covariances, against the numpy code of the method's authors."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.case import measured
from conceptbasis.core.layers.svcca import StreamingCovariances

RIVAL = "SVCCA_PATH"
"""Environment variable that names a checkout of google/svcca."""
_KEEP = 0.99


def spaces(n: int, d: int, broken: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two float32 spaces that share a quarter of their dimensions; with broken ones, an eighth of
    the columns never varies and another repeats others."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n, d // 4), dtype=np.float32)
    sides = []
    for _ in range(2):
        x = shared @ rng.standard_normal((d // 4, d), dtype=np.float32) / np.sqrt(d / 4)
        x += rng.standard_normal((n, d), dtype=np.float32)
        if broken:
            x[:, : d // 8] = 0
            x[:, d // 8 : d // 4] = x[:, d // 4 : d // 4 + d // 8]
        sides.append(x)
    return sides[0], sides[1]


def ours(n: int, d: int, broken: bool = False, products: str = "float32") -> dict[str, Any]:
    """Canonical correlations of the directions that hold 99 % of the variance."""
    x, y = (torch.from_numpy(side) for side in spaces(n, d, broken))
    scores = []

    def work() -> None:
        streamed = StreamingCovariances(d, d, products=getattr(torch, products))
        for rows in zip(x.split(4096), y.split(4096), strict=True):
            streamed.update(*rows)
        scores.append(streamed.svcca(keep_variance=_KEEP).score)

    return measured(work, score=scores)


def streamed(n: int, d: int, products: str = "float32") -> dict[str, Any]:
    """The same from batches in files, so that memory holds no space; reading them is counted."""
    with tempfile.TemporaryDirectory() as name:
        sides = _write_spaces(Path(name), n, d)
        scores = []

        def work() -> None:
            sums = StreamingCovariances(d, d, products=getattr(torch, products))
            for paths in sides:
                sums.update(*(torch.from_numpy(np.load(path)) for path in paths))
            scores.append(sums.svcca(keep_variance=_KEEP).score)

        return measured(work, score=scores)


def _write_spaces(folder: Path, n: int, d: int) -> list[tuple[Path, Path]]:
    """The spaces of `spaces`, drawn batch by batch; a file per batch and side."""
    rng = np.random.default_rng(0)
    mixes = [
        rng.standard_normal((d // 4, d), dtype=np.float32) / np.float32(np.sqrt(d / 4))
        for _ in range(2)
    ]
    written = []
    for place, start in enumerate(range(0, n, 4096)):
        rows = min(4096, n - start)
        shared = rng.standard_normal((rows, d // 4), dtype=np.float32)
        paths = (folder / f"{place}_0.npy", folder / f"{place}_1.npy")
        for path, mix in zip(paths, mixes, strict=True):
            np.save(path, shared @ mix + rng.standard_normal((rows, d), dtype=np.float32))
        written.append(paths)
    return written


def exact(n: int, d: int, broken: bool = False) -> dict[str, Any]:
    """The same by float64 singular value decompositions of the spaces themselves."""
    bases = []
    for side in spaces(n, d, broken):
        centred = torch.from_numpy(side).double()
        left, s, _ = torch.linalg.svd(centred - centred.mean(0), full_matrices=False)
        energy = s.square()
        kept = (energy.cumsum(0) - energy) / energy.sum() < _KEEP
        bases.append(left[:, kept & (energy > 1e-12 * energy[0])])
    return {"score": float(torch.linalg.svdvals(bases[0].T @ bases[1]).mean())}


def authors(n: int, d: int, broken: bool = False) -> dict[str, Any]:
    """SVD of each space, then `get_cca_similarity`, as the authors' tutorial does."""
    path = os.environ.get(RIVAL)
    if not path:
        return {"missing": f"{RIVAL} is not set to a checkout of google/svcca"}
    sys.path.insert(0, path)
    import cca_core

    sides = [side.T.astype(np.float64) for side in spaces(n, d, broken)]
    scores: list[float | str] = []

    def work() -> None:
        kept = []
        for side in sides:
            centred = side - side.mean(axis=1, keepdims=True)
            _, s, v = np.linalg.svd(centred, full_matrices=False)
            k = int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), _KEEP)) + 1
            kept.append(s[:k, None] * v[:k])
        with contextlib.redirect_stdout(io.StringIO()):
            found = cca_core.get_cca_similarity(*kept, verbose=False)
        scores.append(float(np.mean(found["cca_coef1"])))

    return measured(work, score=scores)


def authors_cca(n: int, d: int, broken: bool = False) -> dict[str, Any]:
    """`get_cca_similarity` alone, on the spaces themselves."""
    path = os.environ.get(RIVAL)
    if not path:
        return {"missing": f"{RIVAL} is not set to a checkout of google/svcca"}
    sys.path.insert(0, path)
    import cca_core

    sides = [side.T.astype(np.float64) for side in spaces(n, d, broken)]
    scores: list[float | str] = []

    def work() -> None:
        try:
            found = cca_core.get_cca_similarity(*sides, verbose=False)
            scores.append(float(np.mean(found["cca_coef1"])))
        except Exception as error:
            scores.append(f"{type(error).__name__}: {error}")

    return measured(work, score=scores)
