"""A trained SAE: calibrated on held-out activations, measured and saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SaeMetrics:
    """Quality on held-out activations, with the codes of inference.

    Args:
        explained_variance: 1 − residual sum of squares / total sum of squares.
        l0: Mean number of active features.
        dead_share: Share of features that never fire.
    """

    explained_variance: float
    l0: float
    dead_share: float


@dataclass(frozen=True)
class TrainedSae:
    """A trained SAE in the raw residual space, still in sae-lens's training form."""

    layer: int
    sae: Any
    metrics: SaeMetrics

    def save(self, folder: Path) -> Path:
        """Writes sae-lens's inference format to `folder/layer_LL`.

        Args:
            folder: The parent of the layer folders.

        Returns:
            The folder that `sae_lens.SAE.load_from_disk` opens.
        """
        path = folder / layer_folder(self.layer)
        self.sae.save_inference_model(path)
        return path


def layer_folder(layer: int) -> str:
    """The folder name of a layer's SAE, as "layer_03".

    Args:
        layer: Index of the block.

    Returns:
        The name.
    """
    return f"layer_{layer:02d}"


@torch.no_grad()
def finish_training(
    layer: int, trainer: Any, heldout: Float[Tensor, "n d_model"], *, k: float
) -> TrainedSae:
    """Folds the activation scale, sets the threshold on held-out activations and measures.

    BatchTopK's own threshold is a slow average that lags by hundreds of steps; here it is the
    value that leaves k active features a site on average.

    Args:
        layer: Index of the block.
        trainer: A sae-lens `SAETrainer` whose training is done.
        heldout: Raw activations that it has not seen.
        k: The wanted mean number of active features.

    Returns:
        The SAE in the raw residual space with its metrics.
    """
    sae = trainer.sae
    sae.eval()
    sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    trainer.set_final_sae_metadata()
    x = heldout.float()
    hidden = torch.addmm(sae.b_enc, x - sae.b_dec, sae.W_enc) * sae.W_dec.norm(dim=-1)
    if hasattr(sae, "topk_threshold"):
        threshold = _threshold(hidden, k)
        sae.topk_threshold = torch.tensor(threshold, dtype=torch.double)
        codes = hidden * (hidden > threshold)
    else:
        codes = sae.activation_fn(hidden)
    rebuilt = codes / sae.W_dec.norm(dim=-1) @ sae.W_dec + sae.b_dec
    fired = codes > 0
    variance = (x - x.mean(0)).double().pow(2).sum()
    metrics = SaeMetrics(
        explained_variance=float(1 - (x - rebuilt).double().pow(2).sum() / variance),
        l0=float(fired.sum(-1).double().mean()),
        dead_share=float((~fired.any(0)).double().mean()),
    )
    sae.cfg.metadata.l0 = metrics.l0
    return TrainedSae(layer, sae, metrics)


def _threshold(hidden: Float[Tensor, "n d_sae"], k: float) -> float:
    """The value above which k entries a row remain on average, never below zero."""
    place = hidden.numel() - int(k * len(hidden)) - 1
    return max(float(np.partition(hidden.numpy().ravel(), place)[place]), 0.0)
