"""Reads residuals of one model at every token that ends a character of a text."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptbasis.config.transfer import HarvestSection
from conceptbasis.core.statistics.outliers import ordinary_sites, require_ordinary
from conceptbasis.data.prompts import Text
from conceptbasis.errors import NumericsError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import encode_texts
from conceptbasis.results.harvest import Norms
from conceptbasis.runs.files import load_tensors, save_tensors
from conceptbasis.runs.progress import Reporter

SiteId = tuple[int, int, int]
"""Text, message and character offset."""


@dataclass(frozen=True)
class Residuals:
    """Residuals of one model: `values[layer][i]` belongs to `sites[i]`, in text order.

    `norms` are those of all tokens, by layer, sites or not.
    """

    values: Mapping[int, Float[Tensor, "n_sites d_model"]]
    sites: Sequence[SiteId]
    norms: Mapping[int, Norms]

    def bounds(self, ratio: float) -> dict[int, float | None]:
        """By layer, the norm above which a position is an outlier; None where there is none."""
        return {layer: self.norms[layer].bound(ratio) for layer in self.values}

    def ordinary(self, ratio: float) -> Bool[Tensor, " n_sites"]:
        """Sites that are no outlier at any of the layers.

        Args:
            ratio: How many times the median of all tokens of a layer an outlier has at least.
        """
        sizes = {layer: x.float().norm(dim=-1) for layer, x in self.values.items()}
        return ordinary_sites(sizes, self.bounds(ratio))

    def without_outliers(self, ratio: float) -> Residuals:
        """The same without the sites that are an outlier at any of the layers.

        Raises:
            NumericsError: if no site is left.
        """
        keep = self.ordinary(ratio)
        require_ordinary(keep)
        if keep.all():
            return self
        sites = [site for site, kept in zip(self.sites, keep.tolist(), strict=True) if kept]
        return Residuals({n: x[keep] for n, x in self.values.items()}, sites, self.norms)


def read_residuals(
    loaded: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[int],
    *,
    batch_size: int,
    end_of_prompt: bool,
    reporter: Reporter,
    label: str,
    wanted: Container[SiteId] | None = None,
) -> Residuals:
    """Residuals of one model at every content token of the texts.

    Args:
        loaded: The model.
        texts: What it reads.
        layers: Blocks after which residuals are read.
        batch_size: Texts at a time, fewer where memory runs out; texts of similar length share a
            batch.
        end_of_prompt: Whether the last template token before an answer is a site.
        reporter: Told the progress.
        label: Names the work.
        wanted: Sites that are read, all when None.

    Raises:
        NumericsError: if a residual is not finite.
    """
    loaded.show([text.as_messages() for text in texts])
    order = sorted(range(len(texts)), key=lambda i: len(str(texts[i].content)))
    found: dict[SiteId, int] = {}
    parts: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    sizes: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    n_read = 0
    n_texts = 0

    def read(chosen: Sequence[int]) -> None:
        nonlocal n_read, n_texts
        batch = encode_texts(
            loaded.tokenizer,
            [texts[i].as_messages() for i in chosen],
            end_of_prompt=end_of_prompt,
            max_length=loaded.max_length,
        )
        places = [
            (row, token, (chosen[row], *key))
            for row, keys in enumerate(batch.site_keys)
            for token, key in enumerate(keys)
            if key is not None and (wanted is None or (chosen[row], *key) in wanted)
        ]
        index = torch.tensor([(row, token) for row, token, _ in places]).reshape(-1, 2)
        stream = capture(loaded, batch.input_ids, batch.attention_mask, layers=layers)
        rows = [stream[layer][index[:, 0], index[:, 1]].float().cpu() for layer in layers]
        read_tokens = batch.attention_mask.bool()
        for layer, some in zip(layers, rows, strict=True):
            parts[layer].append(some)
            sizes[layer].append(stream[layer].float().norm(dim=-1).cpu()[read_tokens])
        found.update({site: n_read + i for i, (_, _, site) in enumerate(places)})
        n_read += len(places)
        n_texts += len(chosen)
        advance(n_texts, len(order), "")

    with reporter.bar(label) as advance:
        run_batches(order, batch_size, read)
    sites = sorted(found)
    rows = torch.tensor([found[site] for site in sites], dtype=torch.long)
    values = {layer: torch.cat(parts[layer])[rows] for layer in layers}
    _require_finite(values, loaded.name)
    norms = {layer: _norms(torch.cat(found)) for layer, found in sizes.items()}
    return Residuals(values, sites, norms)


def _norms(sizes: Float[Tensor, " n_tokens"]) -> Norms:
    return Norms(float(sizes.median()), float(sizes.max()))


def read_by_groups(
    loaded: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[int],
    section: HarvestSection,
    reporter: Reporter,
    label: str,
    folder: Path,
) -> Residuals:
    """Residuals of some layers; a few of them at a time where `layers_at_once` says so.

    Each group is one more pass over the texts, which ends after its last layer. Its residuals go
    to disk and are mapped back, so that only one group is in memory.

    Args:
        loaded: The model, whose weights may lie on several devices.
        texts: What it reads.
        layers: Blocks after which residuals are read, ascending.
        section: Batches, groups and sites.
        reporter: Told the progress.
        label: Names the work.
        folder: Where groups go.
    """
    n = len(layers)
    step = min(section.layers_at_once or n, n)
    values: dict[int, Tensor] = {}
    norms: dict[int, Norms] = {}
    for start in range(0, n, step):
        group = layers[start : start + step]
        read = read_residuals(
            loaded,
            texts,
            group,
            batch_size=section.batch_size,
            end_of_prompt=section.end_of_prompt,
            reporter=reporter,
            label=label if step == n else f"{label}, layers {group[0]} to {group[-1]}",
        )
        if step == n:
            return read
        norms |= read.norms
        for layer, x in read.values.items():
            path = folder / f"{layer:02d}.safetensors"
            save_tensors(path, {"residuals": x})
            values[layer] = load_tensors(path)["residuals"]
    return Residuals(values, read.sites, norms)


def _require_finite(values: Mapping[int, Tensor], name: str) -> None:
    for layer, x in values.items():
        if not torch.isfinite(x).all():
            raise NumericsError(
                f"residuals of {name} after layer {layer} contain NaN or infinity",
                expected="finite activations",
                fix="load the model in float32 (key `dtype`), or check its weights",
            )
