"""Stage `harvest`: residuals of both models at sites that both tokenizers share.

A site is a character of a text at which a token ends in both models. One forward pass per model
reads all layers that have an SAE, or one for each group of them. Padding, BOS and template tokens
are no sites, but for the last template token before an answer, which is the place where both models
decide how the answer begins.
"""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.config.budgets import benign_classes, request_classes
from conceptbasis.config.run import RunConfig
from conceptbasis.config.transfer import HarvestSection
from conceptbasis.data.prompts import PromptSuite, Text
from conceptbasis.errors import NumericsError, PromptError
from conceptbasis.models.loading.fetching import DTYPES
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.residuals import Residuals, SiteId, read_by_groups, read_residuals
from conceptbasis.runs.files import corrupt, file_hash, load_tensors, save_tensors, value_hash
from conceptbasis.runs.ledger import Ledger
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.stage import Run, StageOutput

SPLITS = ("fit", "select", "report")


@dataclass(frozen=True)
class Harvest:
    """Aligned residuals of both models, and what each site is.

    Args:
        folder: Where the residuals lie, one memory-mapped file per model and layer.
        text: Index of each site's text in `texts`.
        message: Index of the message in its text.
        offset: Characters of the message up to the site.
        split: Index of each site's split in `SPLITS`; texts are split, not sites.
        texts: The shared texts.
    """

    folder: Path
    text: Int[Tensor, " n_sites"]
    message: Int[Tensor, " n_sites"]
    offset: Int[Tensor, " n_sites"]
    split: Int[Tensor, " n_sites"]
    texts: Sequence[Text]
    result: Mapping[str, Any]
    hash: str
    _ends: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def end_of_prompt(self) -> Bool[Tensor, " n_sites"]:
        """Whether a site is the last template token before an answer."""
        return (self.offset == 0) & (self.message > 0)

    def rows(self, split: str) -> Int[Tensor, " n_rows"]:
        """Indices of the sites of a split."""
        return (self.split == SPLITS.index(split)).nonzero()[:, 0]

    def layers(self, side: str) -> set[int]:
        """Layers of `donor` or `target` whose residuals were read."""
        return set(self.result["layers"][side])

    def residuals(self, side: str, layer: int) -> Float[Tensor, "n_sites d_model"]:
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

    def read_reported_ends(
        self, loaded: LoadedModel, section: HarvestSection, reporter: Reporter
    ) -> None:
        """Reads the same of the target's layers that were not harvested, for `reported_ends`.

        The target's own directions are replayed at all layers, those without SAEs among them.

        Args:
            loaded: The target.
            section: How the texts were read.
            reporter: Told the progress.
        """
        known = self.layers("target") | set(self._ends)
        missing = [layer for layer in range(loaded.architecture.n_layers) if layer not in known]
        if not missing:
            return
        rows = self._end_rows("report")
        chosen = self.text[rows].unique().tolist()
        place = {text: i for i, text in enumerate(chosen)}
        sites = torch.stack([self.text, self.message, self.offset], dim=1)[rows].tolist()
        read = read_residuals(
            loaded,
            [self.texts[i] for i in chosen],
            missing,
            batch_size=section.batch_size,
            end_of_prompt=section.end_of_prompt,
            reporter=reporter,
            label="means of layers without SAEs",
            wanted={(place[text], *more) for text, *more in sites},
        )
        self._ends.update(read.values)

    def split_texts(self, split: str) -> list[Text]:
        """The texts of a split, in order."""
        chosen = self.text[self.rows(split)].unique().tolist()
        return [self.texts[i] for i in chosen]


def choose_texts(texts: Sequence[Text], n: int, seed: int) -> list[Text]:
    """At most n texts, the same ones for the same seed, spread over the classes.

    Each class gets a share in proportion to the square root of its size, so that a small class
    is not drowned.
    """
    rng = random.Random(seed)
    by_class: dict[str, list[Text]] = {}
    for text in texts:
        by_class.setdefault(text.text_class, []).append(text)
    total = sum(len(group) ** 0.5 for group in by_class.values())
    chosen = []
    for group in by_class.values():
        share = min(len(group), max(1, round(n * len(group) ** 0.5 / total)))
        chosen += rng.sample(group, share)
    rng.shuffle(chosen)
    return chosen[:n]


def shared_texts(suite: PromptSuite, config: RunConfig) -> list[Text]:
    """The texts that both models read."""
    allowed = suite.texts_for(config.budget, config.harvest.without)
    return choose_texts(allowed, config.harvest.n_texts, config.seed)


def run_harvest(
    run: Run,
    config: RunConfig,
    models: Mapping[str, LoadedModel],
    model_hashes: Mapping[str, str],
    layers: Mapping[str, Sequence[int]],
    suite: PromptSuite,
    ledger: Ledger,
    reporter: Reporter,
) -> Harvest:
    """Runs or reuses the stage.

    Args:
        run: The run folder.
        config: The whole configuration.
        models: `donor` and `target`.
        model_hashes: Their hashes.
        layers: Layers of each that are read, those with SAEs.
        suite: Gives the texts that the budget allows.
        ledger: Records what the target reads.
        reporter: Told the progress.
    """
    texts = shared_texts(suite, config)
    section = config.harvest

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        run.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=run.folder, prefix="harvest-") as spilled:
            read = {
                side: read_by_groups(
                    loaded,
                    texts,
                    sorted(layers[side]),
                    section,
                    reporter,
                    f"harvest {side}",
                    Path(spilled) / side,
                )
                for side, loaded in models.items()
            }
            return _align(run.folder / "harvest", config, texts, read)

    output = run.stage(
        "harvest",
        config={**section.model_dump(exclude={"layers_at_once"}), "budget": config.budget},
        inputs={
            **model_hashes,
            "texts": _hash_texts(texts),
            "layers": value_hash({side: sorted(read) for side, read in layers.items()}),
        },
        compute=compute,
        seed=config.seed,
        device=config.device,
    )
    _verify_residuals(output)
    classes = {row["class"]: row["sites"] for row in output.result["classes"]}
    ledger.show_texts(texts, classes)
    return Harvest(
        output.folder,
        output.tensors["text"],
        output.tensors["message"],
        output.tensors["offset"],
        output.tensors["split"],
        texts,
        output.result,
        output.hash,
    )


def _hash_texts(texts: Sequence[Text]) -> str:
    return value_hash([(t.content, t.text_class) for t in texts])


def _verify_residuals(output: StageOutput) -> None:
    for name, expected in output.result["files"].items():
        path = output.folder / name
        if not path.exists():
            raise corrupt(path, "missing")
        if path.stat().st_size != expected["bytes"] or file_hash(path) != expected["sha256"]:
            raise corrupt(path, "it is not the file that was written")


def _align(
    folder: Path, config: RunConfig, texts: Sequence[Text], read: Mapping[str, Residuals]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Keeps the sites both models have, drops outliers, splits by text, writes residuals."""
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
    keep, dropped = _drop_outliers(read, rows, config.harvest.max_norm_ratio)
    shared = [site for site, kept in zip(shared, keep.tolist(), strict=True) if kept]
    sites = torch.tensor(shared)
    split = _split(len(texts), config)[sites[:, 0]]
    kept_rows = {side: r[keep] for side, r in rows.items()}
    files = _write_residuals(folder, read, kept_rows, DTYPES[config.harvest.storage])
    result = {
        "n_texts": len(texts),
        "n_sites": len(shared),
        "aligned_share": {side: len(rows[side]) / len(read[side].sites) for side in read},
        "classes": _count_classes(texts, shared),
        "dropped": dropped,
        "splits": {name: int((split == i).sum()) for i, name in enumerate(SPLITS)},
        "files": files,
        "layers": {side: sorted(r.values) for side, r in read.items()},
    }
    tensors = {"text": sites[:, 0], "message": sites[:, 1], "offset": sites[:, 2], "split": split}
    return tensors, result


def _drop_outliers(
    read: Mapping[str, Residuals], rows: Mapping[str, Tensor], ratio: float
) -> tuple[Tensor, dict[str, int]]:
    """Sites whose norm exceeds `ratio` × the layer's median in either model are left out."""
    keep = torch.ones(len(rows["donor"]), dtype=torch.bool)
    dropped = {}
    for side, residuals in read.items():
        good = torch.ones_like(keep)
        for x in residuals.values.values():
            norms = x[rows[side]].norm(dim=1)
            good &= norms <= ratio * norms.median()
        dropped[side] = int((~good).sum())
        keep &= good
    return keep, dropped


def _split(n_texts: int, config: RunConfig) -> Int[Tensor, " n_texts"]:
    generator = torch.Generator().manual_seed(config.seed)
    fit, select, _ = config.harvest.splits
    rank = torch.randperm(n_texts, generator=generator).double() / n_texts
    return torch.where(rank < fit, 0, torch.where(rank < fit + select, 1, 2))


def _write_residuals(
    folder: Path,
    read: Mapping[str, Residuals],
    rows: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> dict[str, Any]:
    files = {}
    for side, residuals in read.items():
        for layer, x in residuals.values.items():
            path = folder / f"{side}_{layer:02d}.safetensors"
            stored = x[rows[side]].to(dtype)
            _require_in_range(stored, f"{side} layer {layer}")
            save_tensors(path, {"residuals": stored})
            files[path.name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    return files


def _require_in_range(stored: Tensor, name: str) -> None:
    if not torch.isfinite(stored).all():
        raise NumericsError(
            f"residuals of {name} exceed what {stored.dtype} holds",
            expected="values below 65,504 for float16",
            fix="set harvest.storage to bfloat16 or float32",
        )


def _count_classes(texts: Sequence[Text], sites: Sequence[SiteId]) -> list[dict[str, Any]]:
    n_texts: dict[str, int] = {}
    n_sites: dict[str, int] = {}
    for text in texts:
        n_texts[text.text_class] = n_texts.get(text.text_class, 0) + 1
    for index, _, _ in sites:
        name = texts[index].text_class
        n_sites[name] = n_sites.get(name, 0) + 1
    return [
        {"class": name, "texts": n, "sites": n_sites.get(name, 0)}
        for name, n in sorted(n_texts.items())
    ]
