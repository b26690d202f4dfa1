"""Stage `train_sae`: the SAEs of one model, trained, loaded from a folder, or from a release."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.model import ModelConfig, SaeTraining
from conceptbasis.data.prompts import PromptSuite, Text
from conceptbasis.errors import ConfigError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.residuals import read_residuals
from conceptbasis.runs.files import (
    cache_folder,
    corrupt,
    folder_hash,
    folder_lock,
    load_tensors,
    read_json,
    save_tensors,
    value_hash,
    write_json,
    writing,
)
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.fit import check_scale, fit_warnings
from conceptbasis.saes.published import load_folder, load_published
from conceptbasis.saes.quality import (
    BATCH_OF_TEXTS,
    Histogram,
    code_histograms,
    judge_quality,
    measure_quality,
    quality_line,
)
from conceptbasis.saes.sae import Sae
from conceptbasis.saes.training import (
    SaeTrainingSettings,
    layer_folder,
    train_saes,
)
from conceptbasis.data.texts import choose_texts

QUALITY = "quality.json"
_HELD_OUT_SHARE = 0.1
Metrics = Callable[[int, Mapping[str, float]], None]
"""Told the metrics of a training step."""


@dataclass(frozen=True)
class SaeSet:
    """The SAEs of one model by layer, with their measured quality.

    Args:
        saes: By layer.
        quality: One row per layer; see `measure_quality`.
        texts: How many texts of each class they were trained on; empty when that is unknown.
        hash: Over all SAEs.
        folder: Where they lie, None for a release.
        histograms: By layer and name; none for SAEs that an older version trained.
        warnings: How the model differs from what they were trained on.
    """

    saes: Mapping[int, Sae]
    quality: Sequence[Mapping[str, Any]]
    texts: Mapping[str, int]
    hash: str
    folder: Path | None
    histograms: Mapping[int, Mapping[str, Histogram]] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def chosen_layers(config: ModelConfig, loaded: LoadedModel) -> list[int]:
    """The layers that the configuration names.

    Raises:
        ConfigError: if the model has no such layer.
    """
    n = loaded.architecture.n_layers
    if config.layers == "all":
        return list(range(n))
    wrong = [layer for layer in config.layers if not 0 <= layer < n]
    if wrong or not config.layers:
        raise ConfigError(
            f"{config.name}: layers {wrong or '[]'} of {config.model}",
            expected=f"layers 0 to {n - 1}",
            fix="correct `layers`, or write `layers: all`",
        )
    return sorted(set(config.layers))


def load_or_train(
    config: ModelConfig,
    loaded: LoadedModel,
    model_hash: str,
    suite: PromptSuite,
    reporter: Reporter,
    *,
    out: Path | None = None,
    on_metrics: Metrics | None = None,
) -> SaeSet:
    """The SAEs that a model configuration asks for.

    Args:
        config: One `sae_configs/NAME.yaml`.
        loaded: Its model.
        model_hash: Hash of the model's weights.
        suite: Text to train on and to measure quality on.
        reporter: Told the progress.
        out: Where trained SAEs go; by default the cache.
        on_metrics: Told the metrics of training steps.
    """
    layers = chosen_layers(config, loaded)
    source = config.saes
    if source.train is not None:
        work = (loaded, layers, reporter)
        return _train(config, source.train, work, model_hash, suite, out, on_metrics)
    saes = load_published(config, loaded, layers)
    texts = choose_texts(suite.texts_for("B0"), 256, 0)
    warnings = fit_warnings(loaded, saes, [text.as_messages() for text in texts], config.model)
    for line in warnings:
        reporter.say(f"warning: SAEs of {config.name}: {line}")
    residuals = _read(loaded, texts, layers, reporter, "activations to measure on")
    check_scale(saes, residuals)
    quality = judge_quality(measure_quality(loaded, saes, texts, residuals))
    reporter.say(f"SAEs of {config.name}: {quality_line(quality)}")
    digest = value_hash([saes[layer].hash for layer in layers])
    folder = Path(source.folder) if source.folder else None
    histograms = _histograms(saes, residuals)
    return SaeSet(saes, quality, {}, digest, folder, histograms, tuple(warnings))


def _histograms(
    saes: Mapping[int, Sae], residuals: Mapping[int, Tensor]
) -> dict[int, dict[str, Histogram]]:
    return {layer: code_histograms(sae.encode(residuals[layer])) for layer, sae in saes.items()}


def _read(
    loaded: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[int],
    reporter: Reporter,
    label: str,
) -> Mapping[int, Tensor]:
    return read_residuals(
        loaded,
        texts,
        layers,
        batch_size=BATCH_OF_TEXTS,
        end_of_prompt=True,
        reporter=reporter,
        label=label,
    ).values


_Work = tuple[LoadedModel, Sequence[int], Reporter]


def _train(
    config: ModelConfig,
    training: SaeTraining,
    work: _Work,
    model_hash: str,
    suite: PromptSuite,
    out: Path | None,
    on_metrics: Metrics | None,
) -> SaeSet:
    loaded, layers, reporter = work
    texts = choose_texts(
        suite.texts_for(training.budget, training.without), training.n_texts, training.seed
    )
    key = value_hash(
        [model_hash, training.model_dump(), layers, config.site, [asdict(t) for t in texts]]
    )
    folder = out or cache_folder() / "saes" / f"{cache_stem(config.model)}-{key[:12]}"
    if _is_finished(folder, key):
        reporter.say(f"SAEs of {config.name}: reused from the cache")
    else:
        with folder_lock(folder):
            _train_into(folder, key, config, training, work, texts, on_metrics)
    found = read_json(folder / QUALITY)
    saes = load_folder(folder, config, loaded, layers)
    digest = value_hash([saes[layer].hash for layer in layers])
    histograms = {int(layer): h for layer, h in found.get("histograms", {}).items()}
    return SaeSet(saes, found["layers"], found["texts"], digest, folder, histograms)


def cache_stem(model: str) -> str:
    """How the cached SAEs of a model are named; equal ones are shared, whatever a file is called.

    Args:
        model: A hub id, a folder, or the name of an organism.
    """
    name = Path(model).name if model.startswith(("~", "/", ".")) else model
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name)


def _is_finished(folder: Path, key: str) -> bool:
    if not (folder / QUALITY).exists():
        return False
    found = read_json(folder / QUALITY, ("key", "layers", "texts", "folders"))
    if found["key"] != key:
        return False
    for name, digest in found["folders"].items():
        if folder_hash(folder / name) != digest:
            raise corrupt(folder / name / "sae_weights.safetensors", "its hash has changed")
    return True


def _train_into(
    folder: Path,
    key: str,
    config: ModelConfig,
    training: SaeTraining,
    work: _Work,
    texts: Sequence[Text],
    on_metrics: Metrics | None,
) -> None:
    loaded, layers, reporter = work
    n_held_out = max(1, round(_HELD_OUT_SHARE * len(texts)))
    train_texts, held_out_texts = texts[n_held_out:], texts[:n_held_out]
    sites = _activations(folder, loaded, layers, train_texts, reporter)
    _check_enough_sites(config.name, len(sites[layers[0]]), training.batch_size)
    held_out = _read(loaded, held_out_texts, layers, reporter, "held-out activations")
    with reporter.bar(f"SAEs of {config.name}") as advance:

        def on_step(step: int, of: int, metrics: Mapping[str, float]) -> None:
            advance(step, of, "")
            if metrics and on_metrics is not None:
                on_metrics(step, metrics)

        with writing(folder):
            trained = train_saes(
                lambda step: _batches(sites, training.batch_size, training.seed, step),
                d_model=loaded.architecture.d_model,
                layers=layers,
                settings=_settings(training),
                hook_names={layer: f"blocks.{layer}.hook_{config.site}" for layer in layers},
                model_name=config.model,
                heldout=held_out,
                checkpoint_dir=folder / "checkpoint",
                on_step=on_step,
            )
            for layer in layers:
                trained[layer].save(folder)
    saes = load_folder(folder, config, loaded, layers)
    quality = measure_quality(loaded, saes, held_out_texts, held_out)
    counts: dict[str, int] = {}
    for text in train_texts:
        counts[text.text_class] = counts.get(text.text_class, 0) + 1
    folders = {layer_folder(layer): folder_hash(folder / layer_folder(layer)) for layer in layers}
    (folder / "activations.safetensors").unlink(missing_ok=True)
    found = {"key": key, "layers": quality, "texts": counts, "folders": folders}
    write_json(folder / QUALITY, {**found, "histograms": _histograms(saes, held_out)})


def _check_enough_sites(name: str, n_sites: int, batch_size: int) -> None:
    if n_sites < batch_size:
        raise ConfigError(
            f"{name}: the text for its SAEs has {n_sites} sites, fewer than one batch",
            expected=f"at least saes.train.batch_size = {batch_size} sites",
            fix="add texts, raise saes.train.n_texts, or lower saes.train.batch_size",
        )


def _settings(training: SaeTraining) -> SaeTrainingSettings:
    return SaeTrainingSettings(
        architecture=training.architecture,
        d_sae=training.d_sae,
        k=training.k,
        lr=training.lr,
        n_steps=training.n_steps,
        batch_size=training.batch_size,
        lr_warm_up_steps=min(50, training.n_steps // 10),
        lr_decay_steps=training.n_steps // 4,
        dead_feature_window=max(1, training.n_steps // 3),
        seed=training.seed,
    )


def _activations(
    folder: Path,
    loaded: LoadedModel,
    layers: Sequence[int],
    texts: Sequence[Text],
    reporter: Reporter,
) -> dict[int, Tensor]:
    """Residuals of all layers from one pass over the text, kept on disk until training ends."""
    path = folder / "activations.safetensors"
    if not path.exists():
        read = _read(loaded, texts, layers, reporter, "activations to train on")
        save_tensors(path, {str(layer): x for layer, x in read.items()})
    return {int(layer): x for layer, x in load_tensors(path).items()}


def _batches(
    sites: Mapping[int, Float[Tensor, "n d_model"]], batch_size: int, seed: int, start: int
) -> Iterator[dict[int, Tensor]]:
    """Endless shuffled batches, the same ones from any start step, so that training resumes."""
    n = len(next(iter(sites.values())))
    per_epoch = n // batch_size
    step = start
    while True:
        epoch, place = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        rows = torch.randperm(n, generator=generator)
        for i in range(place, per_epoch):
            chosen = rows[i * batch_size : (i + 1) * batch_size]
            yield {layer: x[chosen] for layer, x in sites.items()}
            step += 1
