"""Which sites two models share: characters of a text at which a token ends in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from conceptbasis.config.run import RunConfig
from conceptbasis.core.statistics.outliers import require_ordinary
from conceptbasis.data.prompts import Text
from conceptbasis.errors import NumericsError, PromptError
from conceptbasis.models.loading.fetching import DTYPES
from conceptbasis.models.stream.residuals import Residuals, SiteId
from conceptbasis.results.harvest import SPLITS, Harvest, Shown, SideName, StoredFile
from conceptbasis.runs.files import file_hash, save_tensors


def align_sites(
    folder: Path, config: RunConfig, texts: Sequence[Text], read: Mapping[SideName, Residuals]
) -> Harvest:
    """Keeps the sites both models have, drops outliers, splits by text, writes residuals.

    Args:
        folder: Where residuals go, one file per side and layer.
        config: Norm bound, shares of the splits, seed, storage.
        texts: The shared texts.
        read: Residuals of each side at all of its own sites.

    Raises:
        PromptError: if no site is shared.
        NumericsError: if a residual exceeds what the storage type holds, or all are outliers.
    """
    places = {side: {site: i for i, site in enumerate(r.sites)} for side, r in read.items()}
    shared = [site for site in read["donor"].sites if site in places["target"]]
    if not shared:
        raise PromptError(
            "no site is shared by donor and target",
            expected="texts in which a token ends at the same character in both models",
            fix="use texts in a language and script that both tokenizers cover",
        )
    rows = {
        side: torch.tensor([places[side][site] for site in shared], dtype=torch.long)
        for side in read
    }
    ratio = config.harvest.max_norm_ratio
    ordinary = {side: read[side].ordinary(ratio)[rows[side]] for side in read}
    keep = torch.stack(list(ordinary.values())).all(0)
    require_ordinary(keep)
    shared = [site for site, kept in zip(shared, keep.tolist(), strict=True) if kept]
    sites = torch.tensor(shared)
    split = _split(len(texts), config)[sites[:, 0]]
    kept_rows = {side: r[keep] for side, r in rows.items()}
    files = _write_residuals(folder, read, kept_rows, DTYPES[config.harvest.storage])
    return Harvest(
        text=sites[:, 0].clone(),
        message=sites[:, 1].clone(),
        offset=sites[:, 2].clone(),
        split=split,
        n_texts=len(texts),
        n_sites=len(shared),
        aligned_share={side: len(rows[side]) / len(read[side].sites) for side in read},
        dropped={side: int((~good).sum()) for side, good in ordinary.items()},
        left_out=int((~keep).sum()),
        norms={side: dict(r.norms) for side, r in read.items()},
        splits={name: int((split == i).sum()) for i, name in enumerate(SPLITS)},
        layers={side: tuple(sorted(r.values)) for side, r in read.items()},
        files=files,
        shown=_count_classes(texts, shared),
    )


def _split(n_texts: int, config: RunConfig) -> Int[Tensor, " n_texts"]:
    generator = torch.Generator().manual_seed(config.seed)
    fit, select, _ = config.harvest.splits
    rank = torch.randperm(n_texts, generator=generator).double() / n_texts
    return torch.where(rank < fit, 0, torch.where(rank < fit + select, 1, 2))


def _write_residuals(
    folder: Path,
    read: Mapping[SideName, Residuals],
    rows: Mapping[SideName, Tensor],
    dtype: torch.dtype,
) -> dict[str, StoredFile]:
    files = {}
    for side, residuals in read.items():
        for layer, x in residuals.values.items():
            path = folder / f"{side}_{layer:02d}.safetensors"
            stored = x[rows[side]].to(dtype)
            _require_in_range(stored, f"{side} layer {layer}")
            save_tensors(path, {"residuals": stored})
            files[path.name] = StoredFile(path.stat().st_size, file_hash(path))
    return files


def _require_in_range(stored: Tensor, name: str) -> None:
    if not torch.isfinite(stored).all():
        raise NumericsError(
            f"residuals of {name} exceed what {stored.dtype} holds",
            expected="values below 65,504 for float16",
            fix="set harvest.storage to bfloat16 or float32",
        )


def _count_classes(texts: Sequence[Text], sites: Sequence[SiteId]) -> tuple[Shown, ...]:
    n_texts = Counter(text.text_class for text in texts)
    n_sites = Counter(texts[index].text_class for index, _, _ in sites)
    return tuple(Shown(name, n, n_sites[name]) for name, n in sorted(n_texts.items()))
