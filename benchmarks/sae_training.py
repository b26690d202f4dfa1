"""A training step of one BatchTopK SAE: ours, and sae-lens's `MultiSAETrainer`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.case import peak_megabytes
from conceptbasis.models.sae import import_sae_lens
from conceptbasis.models.sae_training import SaeTrainingSettings, train_saes

_HOOK = "blocks.0.hook_resid_post"


def batches(d: int, n: int, count: int = 4) -> list[torch.Tensor]:
    """Sums of a few of 2·d fixed directions, with noise."""
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(2 * d, d, generator=generator), dim=1)
    found = []
    for _ in range(count):
        z = torch.rand(n, 2 * d, generator=generator)
        z = torch.where(z > 1 - 12 / d, z, 0.0)
        found.append(z @ atoms + 0.05 * torch.randn(n, d, generator=generator))
    return found


class _Clock:
    """Seconds of processor time a step, the first ones left out."""

    def __init__(self, skipped: int) -> None:
        self.skipped, self.steps, self.seconds, self.last = skipped, 0, 0.0, 0.0

    def tick(self) -> None:
        now = time.process_time()
        if self.steps > self.skipped:
            self.seconds += now - self.last
        self.last = now
        self.steps += 1

    def per_step(self) -> float:
        return self.seconds / (self.steps - 1 - self.skipped)


def _settings(d_sae: int, k: int, n: int, n_steps: int) -> SaeTrainingSettings:
    return SaeTrainingSettings(
        d_sae=d_sae,
        k=k,
        batch_size=n,
        n_steps=n_steps,
        lr_warm_up_steps=1,
        lr_decay_steps=max(1, n_steps // 4),
        dead_feature_window=10_000,
    )


def ours(d: int, d_sae: int, k: int, n: int, n_steps: int, n_layers: int = 1) -> dict[str, Any]:
    """Seconds a step and SAE, with the explained variance on held-out sites."""
    *pool, heldout = batches(d, n)
    clock = _Clock(skipped=2)

    def stream(start: int) -> Iterator[dict[int, torch.Tensor]]:
        step = start
        while True:
            clock.tick()
            yield dict.fromkeys(range(n_layers), pool[step % len(pool)])
            step += 1

    trained = train_saes(
        stream,
        d_model=d,
        layers=range(n_layers),
        settings=_settings(d_sae, k, n, n_steps),
        hook_names={i: f"blocks.{i}.hook_resid_post" for i in range(n_layers)},
        model_name="made-up",
        heldout=dict.fromkeys(range(n_layers), heldout),
    )
    seconds = clock.per_step() / n_layers
    return {
        "seconds": seconds,
        "megabytes": peak_megabytes(),
        "sites_per_second": n / seconds,
        "explained": trained[0].metrics.explained_variance,
    }


def sae_lens(d: int, d_sae: int, k: int, n: int, n_steps: int) -> dict[str, Any]:
    """The same training by sae-lens's own classes; its threshold is a slow average, so the k
    largest of the held-out batch are taken for its explained variance."""
    lens = import_sae_lens()
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.multi_sae_trainer import MultiSAETrainer

    *pool, heldout = batches(d, n)
    clock = _Clock(skipped=2)

    def stream() -> Iterator[dict[str, torch.Tensor]]:
        step = 0
        while True:
            clock.tick()
            yield {_HOOK: pool[step % len(pool)]}
            step += 1

    torch.manual_seed(0)
    sae = lens.BatchTopKTrainingSAE(
        lens.BatchTopKTrainingSAEConfig(
            d_in=d, d_sae=d_sae, k=k, use_sparse_activations=False, normalize_activations="none"
        )
    )
    sae.b_dec.data = heldout.mean(0)
    settings = _settings(d_sae, k, n, n_steps)
    config = SAETrainerConfig(
        total_training_samples=n_steps * n,
        train_batch_size_samples=n,
        lr=settings.lr,
        lr_end=settings.lr / 10,
        lr_warm_up_steps=settings.lr_warm_up_steps,
        lr_decay_steps=settings.lr_decay_steps,
        dead_feature_window=settings.dead_feature_window,
        logger=LoggingConfig(log_to_wandb=False),
    )
    MultiSAETrainer(config, {"a": sae}, {"a": _HOOK}, stream()).fit()
    with torch.no_grad():
        hidden = torch.addmm(sae.b_enc, heldout - sae.b_dec, sae.W_enc) * sae.W_dec.norm(dim=-1)
        cut = hidden.flatten().topk(k * n).values[-1]
        codes = hidden * (hidden >= cut.clamp(min=0))
        rebuilt = codes / sae.W_dec.norm(dim=-1) @ sae.W_dec + sae.b_dec
        lost = (heldout - rebuilt).pow(2).sum() / (heldout - heldout.mean(0)).pow(2).sum()
    seconds = clock.per_step()
    return {
        "seconds": seconds,
        "megabytes": peak_megabytes(),
        "sites_per_second": n / seconds,
        "explained": float(1 - lost),
    }
