"""What a transfer found before it starts: models, SAEs, shared sites, and what it will cost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite, Text
from conceptbasis.data.texts import shared_texts
from conceptbasis.errors import ArtifactError
from conceptbasis.evaluation.timing import estimate_seconds, time_pieces
from conceptbasis.models.loading.fetching import DTYPES
from conceptbasis.models.loading.memory import Load, estimate_memory, model_size, most_at_once
from conceptbasis.models.text.chat import encode_texts
from conceptbasis.study.study import Side

_SAMPLE = 64


@dataclass(frozen=True)
class Overview:
    """Estimates, from a sample of the texts that will be read anyway.

    Args:
        n_texts: Shared texts.
        n_allowed: Texts that the budget allows.
        n_sites: About how many sites both models will share.
        aligned: Share of each model's own sites that are shared, donor first.
        seconds: About how long a run takes in which nothing is reused.
        bytes: About how large its folder gets.
        free: Free bytes on the disk of the run folder.
        memory: About how many bytes of memory a run takes at most, on all devices together.
    """

    n_texts: int
    n_allowed: int
    n_sites: int
    aligned: tuple[float, float]
    seconds: float
    bytes: int
    free: int
    memory: float


def measure_overview(
    donor: Side, target: Side, suite: PromptSuite, config: RunConfig, folder: Path
) -> Overview:
    """Estimates sites, time, disk and memory.

    The target reads a sample of the texts that stage `harvest` shows it and books.
    """
    texts = shared_texts(suite, config)
    sample = texts[:_SAMPLE]
    keys = [_sites(side, sample, config) for side in (donor, target)]
    shared = len(keys[0] & keys[1])
    n_sites = round(shared / len(sample) * len(texts))
    pieces = time_pieces(donor, target, config, sample)
    width = sum(len(s.saes.saes) * s.loaded.architecture.d_model for s in (donor, target))
    return Overview(
        len(texts),
        len(suite.texts_for(config.budget, config.harvest.without)),
        n_sites,
        (shared / max(1, len(keys[0])), shared / max(1, len(keys[1]))),
        estimate_seconds(pieces, donor, target, suite, config, texts, n_sites),
        n_sites * width * DTYPES[config.harvest.storage].itemsize,
        shutil.disk_usage(_existing(folder)).free,
        _memory(donor, target, config, sample, n_sites),
    )


def _memory(
    donor: Side, target: Side, config: RunConfig, sample: Sequence[Text], n_sites: int
) -> float:
    """As `doctor --model` estimates it, with the sizes of the opened models and SAEs."""
    messages = [text.as_messages() for text in sample]
    n_tokens = max(
        encode_texts(
            side.loaded.tokenizer, messages, max_length=side.loaded.max_length
        ).input_ids.shape[1]
        for side in (donor, target)
    )
    models = []
    for side, peer in ((donor, target), (target, donor)):
        given, architecture = side.config, side.loaded.architecture
        size = model_size(
            side.loaded.model,
            architecture.d_model,
            architecture.d_vocab,
            given.dtype,
            given.quantization,
        )
        load = Load(
            n_sites=n_sites,
            n_saes=len(side.saes.saes),
            d_sae=max(sae.d_sae for sae in side.saes.saes.values()),
            l0=max(row.l0 for row in side.saes.quality),
            batch_size=config.evaluate.batch_size,
            n_tokens=n_tokens + config.evaluate.max_new_tokens,
            peer_d_sae=max(sae.d_sae for sae in peer.saes.saes.values()),
            n_workers=config.n_workers,
            layers_at_once=config.harvest.layers_at_once or len(side.saes.saes),
            top_k=config.match.top_k,
            n_atoms=max(config.fit.n_atoms, config.transfer.n_atoms),
        )
        models.append(estimate_memory(size, load))
    return most_at_once(models)


def _sites(side: Side, texts: Sequence[Text], config: RunConfig) -> set[tuple[int, int, int]]:
    encoded = encode_texts(
        side.loaded.tokenizer,
        [text.as_messages() for text in texts],
        end_of_prompt=config.harvest.end_of_prompt,
        max_length=side.loaded.max_length,
    )
    return {(i, *key) for i, row in enumerate(encoded.site_keys) for key in row if key is not None}


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def require_space(overview: Overview, folder: Path) -> None:
    """Refuses a run whose activations do not fit on the disk, before any is read.

    Args:
        overview: What was estimated.
        folder: The run folder; what a run in it has stored already counts as there.

    Raises:
        ArtifactError: with what is needed and what is free.
    """
    stored = sum(path.stat().st_size for path in (folder / "harvest").glob("*.safetensors"))
    if overview.bytes > overview.free + stored:
        raise ArtifactError(
            f"the disk of {folder} has {_size(overview.free)} free",
            expected=f"about {_size(overview.bytes)} for the shared activations",
            fix="give --out on a larger disk, or store less: fewer layers, harvest.n_texts, "
            "harvest.storage: bfloat16",
        )


def overview_lines(
    donor: Side, target: Side, config: RunConfig, overview: Overview, folder: Path
) -> list[str]:
    """The first screen of a transfer, at most 80 columns wide."""
    aligned = " and ".join(f"{share:.0%}" for share in overview.aligned)
    return [
        *_side("donor", donor),
        *_side("target", target),
        f"text    {overview.n_texts:,} of {overview.n_allowed:,} allowed at {config.budget}; about "
        f"{overview.n_sites:,} shared sites",
        f"        ({aligned} of all sites of donor and target)",
        f"work    {config.device}, {config.n_workers} workers on {os.cpu_count()} cores; about "
        f"{_duration(overview.seconds)} if nothing is reused",
        f"memory  at most about {_size(overview.memory)}, without Python and its libraries",
        f"disk    about {_size(overview.bytes)} in {folder}; {_size(overview.free)} free",
    ]


def _side(name: str, side: Side) -> list[str]:
    architecture = side.loaded.architecture
    saes = list(side.saes.saes.values())
    explained = [row.explained_variance for row in side.saes.quality]
    return [
        f"{name:<7} {side.config.name}: {architecture.model_type}, {side.n_layers} layers, width "
        f"{architecture.d_model}, vocabulary {len(side.loaded.tokenizer):,}",
        f"        SAEs at {len(saes)} layers, {max(s.d_sae for s in saes):,} latents, explained "
        f"variance {min(explained):.2f} to {max(explained):.2f}",
    ]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"
