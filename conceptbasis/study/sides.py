"""A model together with its SAEs, which are trained on the way where they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from conceptbasis.config.model import ModelConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.evaluation.summary import describe_side
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.loading.placement import iter_parameters
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.build import load_or_train
from conceptbasis.study.study import Side
from conceptbasis.tracking.saes import OpenSaeLog, SaeLog


def hash_model(loaded: LoadedModel) -> str:
    """A hash of shapes and sampled values of all weights, quick for large models too."""
    parts = []
    for name, parameter in iter_parameters(loaded.model):
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 1024)].float().cpu()
        parts.append((name, list(parameter.shape), str(parameter.dtype), sample.tolist()))
    known = [parts, loaded.tokenizer.chat_template, len(loaded.tokenizer)]
    return value_hash(known if loaded.file_hash is None else [*known, loaded.file_hash])


def add_saes(
    config: ModelConfig,
    loaded: LoadedModel,
    suite: PromptSuite,
    reporter: Reporter,
    *,
    out: Path | None = None,
    log: SaeLog | None = None,
) -> Side:
    """A model with its SAEs, trained where they are missing.

    Args:
        config: One `sae_configs/NAME.yaml`.
        loaded: Its model.
        suite: Text to train on and to measure quality on.
        reporter: Told the progress.
        out: Where trained SAEs go; by default the cache.
        log: Told the figures of a training, and what came of it.
    """
    digest = hash_model(loaded)
    told = None if log is None else log.log_step
    saes = load_or_train(config, loaded, digest, suite, reporter, out=out, on_metrics=told)
    side = Side(config, loaded, digest, saes)
    if log is not None:
        log.log_outcome(describe_side(side), saes.quality, saes.histograms)
    return side


def both_with_saes(
    models: Sequence[tuple[ModelConfig, LoadedModel]],
    suite: PromptSuite,
    reporter: Reporter,
    open_log: OpenSaeLog | None,
) -> list[Side]:
    """Both sides; SAEs from elsewhere are checked first, so that a bad one costs no training.

    Args:
        models: Configuration and model of donor and target.
        suite: Text to train on and to measure quality on.
        reporter: Told the progress.
        open_log: Gives the log of SAEs that are trained, None to keep none.
    """
    order = sorted((0, 1), key=lambda i: models[i][0].saes.train is not None)
    sides: dict[int, Side] = {}
    for i in order:
        config, loaded = models[i]
        with nullcontext() if open_log is None else open_log(config) as log:
            sides[i] = add_saes(config, loaded, suite, reporter, log=log)
    return [sides[0], sides[1]]
