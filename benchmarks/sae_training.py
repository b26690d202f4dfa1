"""A training step of one BatchTopK SAE: ours, and sae-lens's `MultiSAETrainer`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.stats
import torch

from benchmarks.case import peak_megabytes
from conceptbasis.saes.result import TrainedSae
from conceptbasis.saes.sae import import_sae_lens
from conceptbasis.saes.training import SaeTrainingSettings, train_saes

_HOOK = "blocks.0.hook_resid_post"


def batches(d: int, n: int, count: int = 4, seed: int = 0) -> list[torch.Tensor]:
    """Sums of a few of 2·d fixed directions, with noise."""
    generator = torch.Generator().manual_seed(seed)
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


def _settings(d_sae: int, k: int, n: int, n_steps: int, seed: int = 0) -> SaeTrainingSettings:
    return SaeTrainingSettings(
        seed=seed,
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
    trained = _train_ours(pool, heldout, _settings(d_sae, k, n, n_steps), clock, n_layers)
    seconds = clock.per_step() / n_layers
    return {
        "seconds": seconds,
        "megabytes": peak_megabytes(),
        "sites_per_second": n / seconds,
        "explained": trained[0].metrics.explained_variance,
    }


def _train_ours(
    pool: list[torch.Tensor],
    heldout: torch.Tensor,
    settings: SaeTrainingSettings,
    clock: _Clock,
    n_layers: int = 1,
) -> dict[int, TrainedSae]:
    def stream(start: int) -> Iterator[dict[int, torch.Tensor]]:
        step = start
        while True:
            clock.tick()
            yield dict.fromkeys(range(n_layers), pool[step % len(pool)])
            step += 1

    return train_saes(
        stream,
        d_model=heldout.shape[1],
        layers=range(n_layers),
        settings=settings,
        hook_names={i: f"blocks.{i}.hook_resid_post" for i in range(n_layers)},
        model_name="made-up",
        heldout=dict.fromkeys(range(n_layers), heldout),
    )


def sae_lens(d: int, d_sae: int, k: int, n: int, n_steps: int) -> dict[str, Any]:
    """The same training by sae-lens's own classes; its threshold is a slow average, so the k
    largest of the held-out batch are taken for its explained variance."""
    *pool, heldout = batches(d, n)
    clock = _Clock(skipped=2)
    sae = _train_sae_lens(pool, heldout, _settings(d_sae, k, n, n_steps), clock)
    seconds = clock.per_step()
    return {
        "seconds": seconds,
        "megabytes": peak_megabytes(),
        "sites_per_second": n / seconds,
        "explained": _explained(sae, heldout, k),
    }


def _train_sae_lens(
    pool: list[torch.Tensor], heldout: torch.Tensor, settings: SaeTrainingSettings, clock: _Clock
) -> Any:
    lens = import_sae_lens()
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.multi_sae_trainer import MultiSAETrainer

    def stream() -> Iterator[dict[str, torch.Tensor]]:
        step = 0
        while True:
            clock.tick()
            yield {_HOOK: pool[step % len(pool)]}
            step += 1

    torch.manual_seed(settings.seed)
    sae = lens.BatchTopKTrainingSAE(
        lens.BatchTopKTrainingSAEConfig(
            d_in=heldout.shape[1],
            d_sae=settings.d_sae,
            k=settings.k,
            use_sparse_activations=False,
            normalize_activations="none",
        )
    )
    sae.b_dec.data = heldout.mean(0)
    config = SAETrainerConfig(
        total_training_samples=settings.n_steps * settings.batch_size,
        train_batch_size_samples=settings.batch_size,
        lr=settings.lr,
        lr_end=settings.lr / 10,
        lr_warm_up_steps=settings.lr_warm_up_steps,
        lr_decay_steps=settings.lr_decay_steps,
        dead_feature_window=settings.dead_feature_window,
        logger=LoggingConfig(log_to_wandb=False),
    )
    MultiSAETrainer(config, {"a": sae}, {"a": _HOOK}, stream()).fit()
    return sae


@torch.no_grad()
def _explained(sae: Any, heldout: torch.Tensor, k: int) -> float:
    """Explained variance of a batch by the k largest codes a site of the whole batch."""
    norms = sae.W_dec.norm(dim=-1)
    hidden = torch.addmm(sae.b_enc, heldout - sae.b_dec, sae.W_enc) * norms
    cut = hidden.flatten().topk(k * len(heldout)).values[-1]
    codes = hidden * (hidden >= cut.clamp(min=0))
    rebuilt = codes / norms @ sae.W_dec + sae.b_dec
    lost = (heldout - rebuilt).pow(2).sum() / (heldout - heldout.mean(0)).pow(2).sum()
    return float(1 - lost)


def equal_starts(d: int, d_sae: int, k: int, n: int, n_steps: int, n_seeds: int) -> dict[str, Any]:
    """Explained variance of both trainings from equal weights on equal batches, for some seeds.

    Ours scales activations on the way; sae-lens's is given scaled ones.
    """
    ours_by_seed, theirs_by_seed = [], []
    for seed in range(n_seeds):
        *pool, heldout = batches(d, n, seed=seed)
        settings = _settings(d_sae, k, n, n_steps, seed)
        trained = _train_ours(pool, heldout, settings, _Clock(skipped=2))
        ours_by_seed.append(_explained(trained[0].sae, heldout, k))
        scale = d**0.5 / float(heldout.norm(dim=-1).mean())
        scaled = [x * scale for x in pool]
        sae = _train_sae_lens(scaled, heldout * scale, settings, _Clock(skipped=2))
        theirs_by_seed.append(_explained(sae, heldout * scale, k))
    change = np.array(ours_by_seed) - np.array(theirs_by_seed)
    half = scipy.stats.t.ppf(0.975, n_seeds - 1) * change.std(ddof=1) / n_seeds**0.5
    return {
        "ours": ours_by_seed,
        "sae-lens": theirs_by_seed,
        "difference": [float(change.mean() - half), float(change.mean() + half)],
    }
