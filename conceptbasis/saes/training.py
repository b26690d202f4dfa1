"""Trains the SAEs of all chosen layers from one pass over a stream of activations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.errors import SaeError
from conceptbasis.saes.checkpoint import (
    load_training_state,
    remove_training_state,
    save_training_state,
)
from conceptbasis.saes.result import TrainedSae, finish_training, layer_folder
from conceptbasis.saes.sae import import_sae_lens
from conceptbasis.saes.step import step_metrics, train_step, training_classes

SaeArchitecture = Literal["batchtopk", "topk"]
LOG_EVERY = 20
"""Steps between two sets of metrics; they cost about a twentieth of a step each."""

Stream = Callable[[int], Iterator[dict[int, Float[Tensor, "batch d_model"]]]]


@dataclass(frozen=True)
class SaeTrainingSettings:
    """How to train. `k` is the mean number of active features a site.

    A feature that fired in none of the last `dead_feature_window` steps counts as dead and is
    trained on what the others leave over.
    """

    architecture: SaeArchitecture = "batchtopk"
    d_sae: int = 768
    k: int = 16
    lr: float = 3e-3
    n_steps: int = 900
    batch_size: int = 1024
    lr_warm_up_steps: int = 50
    lr_decay_steps: int = 200
    dead_feature_window: int = 300
    seed: int = 0


def train_saes(
    stream: Stream,
    *,
    d_model: int,
    layers: Sequence[int],
    settings: SaeTrainingSettings,
    hook_names: Mapping[int, str],
    model_name: str,
    heldout: Mapping[int, Float[Tensor, "n d_model"]],
    checkpoint_dir: Path | None = None,
    checkpoint_seconds: float = 30.0,
    on_step: Callable[[int, int, dict[str, float]], None] | None = None,
) -> dict[int, TrainedSae]:
    """Trains one SAE a layer in lockstep with sae-lens's training classes.

    Activations are scaled to norm √d_model for training and the factor is folded into the
    weights afterwards. The BatchTopK threshold is then set so that held-out mean L0 is k. A
    training that was killed goes on from its checkpoint and ends where it would have ended.

    Args:
        stream: Called with the steps already done; gives the batches from there on, the same
            ones every time.
        d_model: Width of the residual stream.
        layers: Layers to train.
        settings: How to train.
        hook_names: Hook name by layer for the metadata, as "blocks.3.hook_resid_post".
        model_name: For the metadata.
        heldout: Raw activations by layer that the stream does not contain.
        checkpoint_dir: Where to keep the state, or None to keep none.
        checkpoint_seconds: Least time between two checkpoints.
        on_step: Called after every step with (steps done, n_steps, metrics); every
            `LOG_EVERY`-th step has sae-lens's own metrics under the name of their layer, as
            "layer_03/losses/overall_loss", and the throughput; the others have none.

    Returns:
        The trained SAEs by layer.

    Raises:
        SaeError: Settings that cannot work, a batch of another shape, a stream that ends
            early, a checkpoint of another training, or a loss that is not finite.
    """
    _check_settings(settings, d_model, layers, heldout)
    trainers = {
        layer: _trainer(d_model, layer, settings, hook_names[layer], model_name, heldout[layer])
        for layer in layers
    }
    identity = {
        **asdict(settings),
        "d_model": d_model,
        "hooks": {str(layer): hook_names[layer] for layer in layers},
        "model": model_name,
    }
    done = 0
    if checkpoint_dir is not None:
        done = load_training_state(checkpoint_dir, trainers, identity=identity)
    batches = stream(done)
    saved_at = logged_at = time.monotonic()
    for step in range(done, settings.n_steps):
        metrics = _step(trainers, _next_batch(batches, step, settings), step)
        if metrics:
            seconds, logged_at = time.monotonic() - logged_at, time.monotonic()
            n_sites = min(LOG_EVERY, step + 1 - done) * settings.batch_size
            metrics["throughput/sites_per_second"] = n_sites / max(seconds, 1e-9)
        due = time.monotonic() - saved_at >= checkpoint_seconds
        if checkpoint_dir is not None and due:
            save_training_state(checkpoint_dir, trainers, step=step + 1, identity=identity)
            saved_at = time.monotonic()
        if on_step is not None:
            on_step(step + 1, settings.n_steps, metrics)
    trained = {
        layer: finish_training(layer, trainer, heldout[layer], k=settings.k)
        for layer, trainer in trainers.items()
    }
    if checkpoint_dir is not None:
        remove_training_state(checkpoint_dir)
    return trained


def _check_settings(
    settings: SaeTrainingSettings,
    d_model: int,
    layers: Sequence[int],
    heldout: Mapping[int, Tensor],
) -> None:
    problems = []
    if settings.architecture not in get_args(SaeArchitecture):
        problems.append(f"architecture {settings.architecture!r}")
    if not 0 < settings.k < settings.d_sae:
        problems.append(f"k = {settings.k} with d_sae = {settings.d_sae}")
    if settings.lr_warm_up_steps + settings.lr_decay_steps > settings.n_steps:
        problems.append("warm-up and decay longer than the training")
    if not layers:
        problems.append("no layers")
    for layer in layers:
        if layer not in heldout or heldout[layer].shape[-1] != d_model or not len(heldout[layer]):
            problems.append(f"held-out activations of layer {layer}")
    if problems:
        raise SaeError(
            "SAE training cannot start: " + "; ".join(problems),
            expected="batchtopk or topk, 0 < k < d_sae, warm-up + decay <= n_steps, and held-out "
            "activations (n, d_model) for each layer",
            fix="correct the settings",
        )


def _trainer(
    d_model: int,
    layer: int,
    settings: SaeTrainingSettings,
    hook_name: str,
    model_name: str,
    heldout: Tensor,
) -> Any:
    import_sae_lens()
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

    sae_class, config_class = training_classes()[settings.architecture]
    config = config_class(
        d_in=d_model,
        d_sae=settings.d_sae,
        k=settings.k,
        # Sparse COO activations crash on the CPU; the sparse step does not use them.
        use_sparse_activations=False,
        normalize_activations="expected_average_only_in",
        metadata=SAEMetadata(model_name=model_name, hook_name=hook_name),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1000 * layer)
        sae = sae_class(config)
    trainer: Any = SAETrainer(
        SAETrainerConfig(
            total_training_samples=settings.n_steps * settings.batch_size,
            train_batch_size_samples=settings.batch_size,
            lr=settings.lr,
            lr_end=settings.lr / 10,
            lr_warm_up_steps=settings.lr_warm_up_steps,
            lr_decay_steps=settings.lr_decay_steps,
            dead_feature_window=settings.dead_feature_window,
        ),
        sae,
        data_provider=iter(()),
    )
    scale = math.sqrt(d_model) / float(heldout.float().norm(dim=-1).mean())
    trainer.activation_scaler.scaling_factor = scale
    # The mean residual is a large constant; a decoder bias that starts at it saves features.
    sae.b_dec.data = heldout.float().mean(0) * scale
    return trainer


def _next_batch(
    batches: Iterator[dict[int, Tensor]], step: int, settings: SaeTrainingSettings
) -> dict[int, Tensor]:
    batch = next(batches, None)
    if batch is None:
        raise SaeError(
            f"the activation stream ended after {step} steps",
            expected=f"{settings.n_steps} batches of {settings.batch_size}",
            fix="give more text, fewer steps, or a stream that starts over",
        )
    return batch


def _step(trainers: Mapping[int, Any], batch: Mapping[int, Tensor], step: int) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for layer, trainer in trainers.items():
        x = batch.get(layer)
        if x is None or x.shape != (trainer.cfg.train_batch_size_samples, trainer.sae.cfg.d_in):
            raise SaeError(
                f"batch {step} has {None if x is None else tuple(x.shape)} for layer {layer}",
                expected=f"({trainer.cfg.train_batch_size_samples}, {trainer.sae.cfg.d_in})",
                fix="let the stream yield every layer at the batch size of the settings",
            )
        output = train_step(trainer, x.float())
        loss = float(output.loss.detach())
        if not math.isfinite(loss):
            raise SaeError(
                f"the loss of layer {layer} is {loss} at step {step}",
                expected="a finite loss",
                fix="lower the learning rate, or look for NaN in the activations",
            )
        if (step + 1) % LOG_EVERY == 0:
            found = step_metrics(trainer, output)
            metrics |= {f"{layer_folder(layer)}/{name}": v for name, v in found.items()}
    return metrics
