"""Opens the SAEs of one model: trained, loaded from a folder, or from a release."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conceptbasis.config.model import ModelConfig, SaeTraining
from conceptbasis.data.prompts import PromptSuite, Text
from conceptbasis.data.texts import choose_texts, count_classes
from conceptbasis.errors import ConfigError, SaeError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.text.lengths import fitting_texts
from conceptbasis.results.harvest import Shown
from conceptbasis.results.summary import SaeQuality
from conceptbasis.runs.files import cache_folder, value_hash
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.fit import check_scale, fit_warnings
from conceptbasis.saes.published import load_folder, load_published
from conceptbasis.saes.quality import (
    Histograms,
    all_histograms,
    judge_quality,
    measure_quality,
    quality_line,
    read_texts,
)
from conceptbasis.saes.sae import Sae
from conceptbasis.saes.trained import QUALITY, Metrics, SaeJob, train_or_reuse

N_JUDGED = 256
"""Texts on which SAEs from elsewhere are measured."""


@dataclass(frozen=True)
class SaeSet:
    """The SAEs of one model by layer, with their measured quality.

    Args:
        saes: By layer.
        quality: One row per layer; see `measure_quality`.
        texts: How many texts of each class they were trained on; empty when that is unknown.
        shown: What the model read for them: texts to train on, held-out texts, and those that
            SAEs from elsewhere were measured on.
        hash: Over all SAEs.
        folder: Where they lie, None for a release.
        histograms: By layer and name; none for SAEs that an older version trained.
        warnings: How the model differs from what they were trained on.
        left_out: Share of sites of the text they are measured on that are left out as attention
            sinks or outliers.
    """

    saes: Mapping[int, Sae]
    quality: tuple[SaeQuality, ...]
    texts: Mapping[str, int]
    shown: tuple[Shown, ...]
    hash: str
    folder: Path | None
    histograms: Histograms = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    left_out: float = 0.0


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
    if config.saes.train is None:
        return _open_published(config, loaded, suite, reporter)
    job = _job(config, config.saes.train, loaded, suite, reporter, on_metrics)
    folder = out or _folder_of(job, model_hash)
    found = train_or_reuse(job, model_hash, folder)
    return SaeSet(
        found.saes,
        found.quality,
        count_classes(job.trained_on),
        _shown(job.texts),
        _hash(found.saes),
        folder,
        found.histograms,
        left_out=found.left_out,
    )


def _job(
    config: ModelConfig,
    training: SaeTraining,
    loaded: LoadedModel,
    suite: PromptSuite,
    reporter: Reporter,
    on_metrics: Metrics | None = None,
) -> SaeJob:
    allowed = suite.texts_for(training.budget, training.without)
    texts = choose_texts(fitting_texts(loaded, allowed, reporter), training.n_texts, training.seed)
    layers = chosen_layers(config, loaded)
    return SaeJob(config, training, loaded, layers, texts, reporter, on_metrics)


def _folder_of(job: SaeJob, model_hash: str) -> Path:
    name = f"{cache_stem(job.config.model)}-{job.key(model_hash)[:12]}"
    return cache_folder() / "saes" / name


def reopen_saes(
    config: ModelConfig,
    loaded: LoadedModel,
    model_hash: str,
    suite: PromptSuite,
    expected: str,
) -> Mapping[int, Sae]:
    """The SAEs that a finished run used; nothing is trained and nothing is measured.

    Args:
        config: One `sae_configs/NAME.yaml`.
        loaded: Its model.
        model_hash: Hash of the model's weights.
        suite: The text of the run, which names the folder of trained SAEs.
        expected: The hash over its SAEs that the run has written down.

    Raises:
        SaeError: they are gone, or are not those of the run.
    """
    layers = chosen_layers(config, loaded)
    if config.saes.train is None:
        saes = load_published(config, loaded, layers)
    else:
        job = _job(config, config.saes.train, loaded, suite, Reporter(quiet=True))
        folder = _folder_of(job, model_hash)
        if not (folder / QUALITY).exists():
            raise SaeError(
                f"the SAEs of {config.name} are no longer in the cache ({folder.name})",
                expected="the SAEs that the run was made with",
                fix="run the command that made this run again; it trains what is missing",
            )
        saes = load_folder(folder, config, loaded, layers)
    if _hash(saes) != expected:
        raise SaeError(
            f"the SAEs of {config.name} are not those that the run was made with",
            expected="unchanged SAEs",
            fix="restore them, or run the transfer again",
        )
    return saes


def _open_published(
    config: ModelConfig, loaded: LoadedModel, suite: PromptSuite, reporter: Reporter
) -> SaeSet:
    """SAEs from elsewhere, measured on benign text of the model."""
    layers = chosen_layers(config, loaded)
    saes = load_published(config, loaded, layers)
    texts = choose_texts(fitting_texts(loaded, suite.texts_for("B0"), reporter), N_JUDGED, 0)
    warnings = fit_warnings(loaded, saes, [text.as_messages() for text in texts], config.model)
    for line in warnings:
        reporter.say(f"warning: SAEs of {config.name}: {line}")
    ratio = config.saes.max_norm_ratio
    said = "activations to measure on"
    read = read_texts(loaded, texts, layers, reporter, said, max_norm_ratio=ratio)
    check_scale(saes, read.residuals)
    quality = judge_quality(measure_quality(loaded, saes, texts, read))
    reporter.say(f"SAEs of {config.name}: {quality_line(quality)}")
    return SaeSet(
        saes,
        quality,
        {},
        _shown(texts),
        _hash(saes),
        Path(config.saes.folder) if config.saes.folder else None,
        all_histograms(saes, read.residuals),
        tuple(warnings),
        read.left_out,
    )


def _shown(texts: Sequence[Text]) -> tuple[Shown, ...]:
    return tuple(Shown(name, n) for name, n in count_classes(texts).items())


def _hash(saes: Mapping[int, Sae]) -> str:
    return value_hash([saes[layer].hash for layer in sorted(saes)])


def cache_stem(model: str) -> str:
    """How the cached SAEs of a model are named; equal ones are shared, whatever a file is called.

    Args:
        model: A hub id, a folder, or the name of an organism.
    """
    name = Path(model).name if model.startswith(("~", "/", ".")) else model
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name)
