"""sae-lens's TopK and BatchTopK training classes with a step that touches only active features.

At 16 of 768 features the dense backward pass and torch's top-k are most of a step's time. Here
the selection is numpy's partition and both decoder products are sparse; losses, gradients,
threshold and dead-feature loss are those of the parent class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from conceptbasis.models.sae import import_sae_lens

_BLOCK = 256


class _SparseReconstruction(torch.autograd.Function):
    """Mean squared error of (active pre-activations) @ W_dec + b_dec, differentiated by hand.

    With acts = pre · ‖W_dec‖ and a decoder that divides by ‖W_dec‖, the norm cancels on the
    active set, and so does its gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        active: scipy.sparse.csr_matrix,
    ) -> tuple[Tensor, Tensor]:
        out = torch.from_numpy(active @ W_dec.numpy()).add_(b_dec)
        error = out - x
        ctx.save_for_backward(x, W_enc, W_dec, b_dec, error)
        ctx.active = active
        ctx.mark_non_differentiable(out)
        return error.pow(2).sum(dim=-1).mean(), out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, W_enc, W_dec, b_dec, error = ctx.saved_tensors
        active = ctx.active
        g = error * (2.0 / error.shape[0] * grads[0])
        grad_W_dec = torch.from_numpy(active.T @ g.numpy())
        grad_pre = _products_at(g, W_dec, active)
        backward = scipy.sparse.csr_matrix(
            (grad_pre, active.indices, active.indptr), shape=active.shape
        )
        grad_W_enc = torch.from_numpy(backward.T @ (x - b_dec).numpy()).T
        grad_b_enc = torch.from_numpy(
            np.bincount(active.indices, weights=grad_pre, minlength=active.shape[1])
        ).to(g)
        grad_b_dec = g.sum(0) - W_enc @ grad_b_enc
        return None, grad_W_enc, grad_b_enc, grad_W_dec, grad_b_dec, None


def _products_at(g: Tensor, W_dec: Tensor, active: scipy.sparse.csr_matrix) -> np.ndarray:
    """g @ W_decᵀ at the active positions alone.

    A dense product and a gather beat a gathered dot product fivefold, in blocks of rows that
    stay in the cache.
    """
    result = np.empty(active.nnz, dtype=active.dtype)
    starts, d_sae = active.indptr, active.shape[1]
    for first in range(0, len(g), _BLOCK):
        last = min(first + _BLOCK, len(g))
        here = slice(starts[first], starts[last])
        counts = np.diff(starts[first : last + 1])
        places = np.repeat(np.arange(last - first) * d_sae, counts) + active.indices[here]
        result[here] = (g[first:last] @ W_dec.T).numpy().ravel()[places]
    return result


def _active_by_row(hidden: np.ndarray, k: int) -> np.ndarray:
    """Flat positions of the k largest positive entries of each row."""
    place = hidden.shape[1] - k
    cut = np.partition(hidden, place, axis=-1)[:, place : place + 1]
    return np.flatnonzero((hidden >= cut) & (hidden > 0))


def _active_in_batch(hidden: np.ndarray, k: float, guess: float) -> tuple[np.ndarray, float]:
    """Flat positions of the k largest positive entries a row on average, and their least value.

    Only entries above the guess are sorted out; a guess that is too high is not used.
    """
    flat = hidden.ravel()
    wanted = int(k * len(hidden))
    places = np.flatnonzero(flat > guess)
    if len(places) < wanted and guess > 0:
        places = np.flatnonzero(flat > 0)
    if len(places) <= wanted:
        return places, 0.0
    values = flat[places]
    cut = np.partition(values, len(values) - wanted)[len(values) - wanted]
    return places[values >= cut], float(cut)


def _sparse_forward_pass(
    sae: Any, step_input: Any, choose: Callable[[np.ndarray], np.ndarray]
) -> Any:
    from sae_lens.saes.sae import TrainStepOutput

    x = step_input.sae_in
    with torch.no_grad():
        norm = sae.W_dec.norm(dim=-1)
        # Scaling the weights instead of the products saves a pass over (batch, d_sae).
        hidden_pre = torch.addmm(sae.b_enc * norm, x - sae.b_dec, sae.W_enc * norm)
        n, d_sae = hidden_pre.shape
        flat = choose(hidden_pre.numpy())
        starts = np.searchsorted(flat, np.arange(n + 1) * d_sae)
        columns = flat % d_sae
        active_acts = hidden_pre.numpy().ravel()[flat]
        values = active_acts / norm.numpy()[columns]
        active = scipy.sparse.csr_matrix((values, columns, starts), shape=(n, d_sae))
        feature_acts = torch.zeros(n, d_sae, dtype=hidden_pre.dtype)
        feature_acts.numpy().ravel()[flat] = active_acts
    mse, out = _SparseReconstruction.apply(x, sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, active)
    aux = _dead_feature_loss(sae, x, out, step_input.dead_neuron_mask)
    counts = torch.from_numpy(np.bincount(columns, minlength=d_sae)).float()
    return TrainStepOutput(
        sae_in=x,
        sae_out=out,
        feature_acts=feature_acts,
        hidden_pre=hidden_pre,
        loss=mse + aux,
        losses={"mse_loss": mse, "auxiliary_reconstruction_loss": aux},
        metrics={"active_acts": torch.from_numpy(active_acts), "fire_counts": counts},
    )


def _dead_feature_loss(sae: Any, x: Tensor, out: Tensor, dead: Tensor | None) -> Tensor:
    """The parent's auxiliary loss, computed on the dead features alone."""
    if dead is None or not bool(dead.any()):
        return x.new_tensor(0.0)
    from sae_lens.saes.topk_sae import act_times_W_dec

    places = dead.nonzero()[:, 0]
    W_dec = sae.W_dec[places]
    hidden = torch.addmm(sae.b_enc[places], x - sae.b_dec, sae.W_enc[:, places])
    hidden = hidden * W_dec.norm(dim=-1)
    # The same heuristic as sae-lens: half the width, scaled down when few features are dead.
    half = x.shape[-1] // 2
    top = hidden.topk(min(half, len(places)), sorted=False)
    acts = torch.zeros_like(hidden).scatter(-1, top.indices, top.values)
    rebuilt = act_times_W_dec(acts, W_dec, rescale_acts_by_decoder_norm=True)
    loss = (rebuilt - (x - out).detach()).pow(2).sum(dim=-1).mean()
    return sae.cfg.aux_loss_coefficient * min(len(places) / half, 1.0) * loss


@cache
def training_classes() -> dict[str, tuple[type, type]]:
    """The training class and configuration class by architecture name.

    The classes are made on first use, because their parents cost seconds to import.

    Returns:
        For "batchtopk" and "topk", subclasses of sae-lens's training classes whose step is
        sparse on the CPU and the parent's elsewhere.
    """
    sae_lens = import_sae_lens()

    class SparseTopKTrainingSAE(sae_lens.TopKTrainingSAE):  # type: ignore[name-defined]
        def training_forward_pass(self, step_input: Any) -> Any:
            if step_input.sae_in.device.type != "cpu":
                return super().training_forward_pass(step_input)
            return _sparse_forward_pass(self, step_input, lambda h: _active_by_row(h, self.cfg.k))

    class SparseBatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAE):  # type: ignore[name-defined]
        last_cut = 0.0

        def training_forward_pass(self, step_input: Any) -> Any:
            if step_input.sae_in.device.type != "cpu":
                return super().training_forward_pass(step_input)

            def choose(hidden: np.ndarray) -> np.ndarray:
                # Most of the last step's cut; it changes the speed, never the choice.
                guess = 0.8 * self.last_cut
                places, self.last_cut = _active_in_batch(hidden, self.cfg.k, guess)
                return places

            output = _sparse_forward_pass(self, step_input, choose)
            # The parent scans all activations; the least positive one is among the active.
            self.update_topk_threshold(output.metrics["active_acts"])
            output.metrics["topk_threshold"] = self.topk_threshold
            return output

    return {
        "topk": (SparseTopKTrainingSAE, sae_lens.TopKTrainingSAEConfig),
        "batchtopk": (SparseBatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig),
    }


def train_step(trainer: Any, batch: Tensor) -> Any:
    """`SAETrainer.step` with fire counts taken from the active features.

    The parent turns all activations into booleans and floats and sums them twice, which is a
    quarter of a sparse step. Everything else is done as it does it, in the same order.

    Args:
        trainer: A sae-lens `SAETrainer` with logging and autocast off.
        batch: Raw activations `(batch, d_model)`.

    Returns:
        sae-lens's step output.
    """
    if batch.device.type != "cpu":
        output = trainer.step(batch)
        trainer.n_training_steps += 1
        return output
    from sae_lens.saes.sae import TrainStepInput

    sae = trainer.sae
    sae.train()
    trainer.n_training_samples += batch.shape[0]
    output = sae.training_forward_pass(
        TrainStepInput(
            sae_in=trainer.activation_scaler(batch),
            coefficients=trainer.get_coefficients(),
            dead_neuron_mask=trainer.dead_neurons,
            n_training_steps=trainer.n_training_steps,
            is_logging_step=False,
        )
    )
    counts = output.metrics["fire_counts"]
    trainer.n_forward_passes_since_fired += 1
    trainer.n_forward_passes_since_fired[counts > 0] = 0
    trainer.act_freq_scores += counts
    trainer.n_frac_active_samples += batch.shape[0]
    output.loss.backward()
    torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.lr_scheduler.step()
    trainer.n_training_steps += 1
    return output


def step_metrics(trainer: Any, output: Any) -> dict[str, float]:
    """What sae-lens logs of a step, under its own names.

    Args:
        trainer: A sae-lens `SAETrainer`.
        output: What `train_step` gave.
    """
    scalars = {k: v for k, v in output.metrics.items() if np.ndim(v) == 0}
    shown = dataclasses.replace(output, metrics=scalars)
    found = trainer.build_train_step_log_dict(shown, trainer.n_training_samples)
    return {name: float(value) for name, value in found.items() if math.isfinite(float(value))}
