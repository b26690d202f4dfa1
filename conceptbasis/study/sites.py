"""The shared sites: characters at which a token ends in both models, with their residuals."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.config.budgets import benign_classes, request_classes
from conceptbasis.config.transfer import Centre, HarvestSection
from conceptbasis.data.prompts import Text
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.residuals import SiteId, read_residuals
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.harvest import SPLITS, Harvest, Norms, SideName
from conceptbasis.runs.files import corrupt, file_hash, load_tensors
from conceptbasis.runs.progress import Reporter


@dataclass(frozen=True)
class Sites:
    """Aligned residuals of both models, and what each site is.

    Args:
        folder: Where the residuals lie, one memory-mapped file per model and layer.
        text: Index of each site's text in `texts`.
        message: Index of the message in its text.
        offset: Characters of the message up to the site.
        split: Index of each site's split in `SPLITS`; texts are split, not sites.
        texts: The shared texts.
        read_layers: Layers that were read, by side.
        norms: Norms of the stream by side and layer.
    """

    folder: Path
    text: Int[Tensor, " n_sites"]
    message: Int[Tensor, " n_sites"]
    offset: Int[Tensor, " n_sites"]
    split: Int[Tensor, " n_sites"]
    texts: Sequence[Text]
    read_layers: Mapping[SideName, Sequence[int]]
    norms: Mapping[SideName, Mapping[int, Norms]] = field(default_factory=dict)
    _own_norms: dict[int, Norms] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _ends: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _centres: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _first: dict[tuple[str, ...], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, harvest: Harvest, folder: Path, texts: Sequence[Text]) -> Sites:
        """The sites that stage `harvest` left, its files of residuals verified.

        Raises:
            ArtifactError: if a file of residuals is not the one that was written.
        """
        for name, stored in harvest.files.items():
            path = folder / name
            if not path.exists():
                raise corrupt(path, "missing")
            if path.stat().st_size != stored.bytes or file_hash(path) != stored.sha256:
                raise corrupt(path, "it is not the file that was written")
        sites = (harvest.text, harvest.message, harvest.offset, harvest.split)
        return cls(folder, *sites, texts, harvest.layers, harvest.norms)

    @property
    def end_of_prompt(self) -> Bool[Tensor, " n_sites"]:
        """Whether a site is the last template token before an answer."""
        return (self.offset == 0) & (self.message > 0)

    def rows(self, split: str) -> Int[Tensor, " n_rows"]:
        """Indices of the sites of a split."""
        return (self.split == SPLITS.index(split)).nonzero()[:, 0]

    def layers(self, side: SideName) -> set[int]:
        """Layers of `donor` or `target` whose residuals were read."""
        return set(self.read_layers[side])

    def residuals(self, side: SideName, layer: int) -> Float[Tensor, "n_sites d_model"]:
        """Residuals of `donor` or `target` after a block.

        Memory-mapped where they are stored in float32, otherwise widened, one layer at a time.
        """
        return load_tensors(self.folder / f"{side}_{layer:02d}.safetensors")["residuals"].float()

    def _rows_of(self, split: str, classes: Sequence[str]) -> Int[Tensor, " n_rows"]:
        rows = self.rows(split)
        wanted = torch.tensor([t.text_class in classes for t in self.texts])
        return rows[wanted[self.text[rows]]]

    @functools.cached_property
    def benign_rows(self) -> Int[Tensor, " n_rows"]:
        """Report sites of benign texts."""
        return self._rows_of("report", benign_classes())

    def benign_ends(self, split: str, layer: int) -> Float[Tensor, "n_rows d_model"]:
        """The target's residuals where benign requests end.

        Without harvested ends of prompts there are only those of all benign text.
        """
        return self.residuals("target", layer)[self._end_rows(split)].float()

    def _end_rows(self, split: str) -> Int[Tensor, " n_rows"]:
        ends = self._rows_of(split, request_classes())
        ends = ends[self.end_of_prompt[ends]]
        return ends if len(ends) else self._rows_of(split, benign_classes())

    def reported_ends(self, layer: int) -> Float[Tensor, "n_rows d_model"]:
        """`benign_ends` of the report sites, read once per layer."""
        if layer not in self._ends:
            self._ends[layer] = self.benign_ends("report", layer)
        return self._ends[layer]

    def centre(self, layer: int, which: Centre) -> Float[Tensor, " d_model"]:
        """The target's mean on benign `report` sites: where requests end, or at all of them.

        Args:
            layer: Of the target.
            which: `all`, or `ends`; that is also the mean of `both`, which reads them alike.
        """
        if which != "all":
            return self.reported_ends(layer).double().mean(0).float()
        if layer not in self._centres:
            rows = self.residuals("target", layer)[self.benign_rows]
            self._centres[layer] = rows.double().mean(0).float()
        return self._centres[layer]

    def untouched_first(
        self, loaded: LoadedModel, requests: Sequence[str]
    ) -> Float[Tensor, "n_requests d_vocab"]:
        """First-token logits of the target on benign requests before any edit, read once.

        Args:
            loaded: The target, without an edit.
            requests: What is asked.
        """
        key = tuple(requests)
        if key not in self._first:
            self._first[key] = first_token_logits(loaded, list(requests))
        return self._first[key]

    def read_missing_layers(
        self, loaded: LoadedModel, section: HarvestSection, centre: Centre, reporter: Reporter
    ) -> None:
        """Reads the same of the target's layers that were not harvested.

        The target's own directions are replayed at all layers, those without SAEs among them.
        A site that is an outlier at any of these layers is left out at all of them; what is an
        outlier at the harvested layers was left out of the harvest.

        Args:
            loaded: The target.
            section: How the texts were read.
            centre: Which means are wanted; all but `ends` read more sites.
            reporter: Told the progress.
        """
        known = self.layers("target") | set(self._ends)
        missing = [layer for layer in range(loaded.architecture.n_layers) if layer not in known]
        if not missing:
            return
        ends = self._end_rows("report")
        rows = ends if centre == "ends" else self.benign_rows
        chosen = self.text[rows].unique().tolist()
        place = {text: i for i, text in enumerate(chosen)}

        def ids(of: Int[Tensor, " n_rows"]) -> set[SiteId]:
            keys = torch.stack([self.text, self.message, self.offset], dim=1)[of].tolist()
            return {(place[text], message, offset) for text, message, offset in keys}

        read = read_residuals(
            loaded,
            [self.texts[i] for i in chosen],
            missing,
            batch_size=section.batch_size,
            end_of_prompt=section.end_of_prompt,
            reporter=reporter,
            label="means of layers without SAEs",
            wanted=ids(rows),
        ).without_outliers(section.max_norm_ratio)
        wanted = ids(ends)
        is_end = torch.tensor([site in wanted for site in read.sites])
        self._ends.update({layer: x[is_end] for layer, x in read.values.items()})
        if centre != "ends":
            means = {layer: x.double().mean(0).float() for layer, x in read.values.items()}
            self._centres.update(means)
        self._own_norms.update(read.norms)

    def sink_bound(self, layer: int, ratio: float | None) -> float | None:
        """The norm above which a position of a target layer is a sink, None where it has none."""
        found = self.norms.get("target", {}).get(layer) or self._own_norms.get(layer)
        return None if found is None else found.bound(ratio)

    def split_texts(self, split: str) -> list[Text]:
        """The texts of a split, in order."""
        chosen = self.text[self.rows(split)].unique().tolist()
        return [self.texts[i] for i in chosen]
