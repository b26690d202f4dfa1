"""sae-lens's TopK and BatchTopK training classes with a step that touches only active features.

The dense backward pass and torch's top-k are most of a step's time. Here the selection is numpy's
partition, and decoding and both backward products touch active features only; losses, gradients,
threshold and dead-feature loss are those of the parent class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from conceptbasis.core.features.kernels import decoder_gradients
from conceptbasis.saes.sae import import_sae_lens


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
        grad_W_dec, grad_W_enc, grad_b_enc = _gradients(g, x - b_dec, W_dec, active)
        grad_b_dec = g.sum(0) - W_enc @ grad_b_enc
        return None, grad_W_enc.T, grad_b_enc, grad_W_dec, grad_b_dec, None


def _gradients(
    g: Tensor, x: Tensor, W_dec: Tensor, active: scipy.sparse.csr_matrix
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of W_dec, W_encᵀ and b_enc, made at the active places alone, feature by feature."""
    columns = active.tocsc()
    csc = (columns.indptr, columns.indices.view(np.uint32), columns.data)
    found = (torch.zeros_like(W_dec), torch.zeros_like(W_dec), torch.zeros(len(W_dec)).to(g))
    arrays = [t.numpy() for t in (g.contiguous(), x.contiguous(), W_dec, *found)]
    n_threads = torch.get_num_threads()
    # Equal shares of active places, not of features: some features fire far more often.
    bounds = np.searchsorted(columns.indptr, np.linspace(0, columns.nnz, n_threads + 1))
    bounds[0], bounds[-1] = 0, len(W_dec)
    shares = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    if n_threads == 1:
        decoder_gradients(shares[0], csc, *arrays)
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(lambda share: decoder_gradients(share, csc, *arrays), shares))
    return found


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
    mse, out = _SparseReconstruction.apply(x, sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, active)
    aux = _dead_feature_loss(sae, x, out, step_input.dead_neuron_mask)
    counts = torch.from_numpy(np.bincount(columns, minlength=d_sae)).float()
    return TrainStepOutput(
        sae_in=x,
        sae_out=out,
        feature_acts=x.new_empty(0),  # dense only where somebody looks: in `step_metrics`
        hidden_pre=hidden_pre,
        loss=mse + aux,
        losses={"mse_loss": mse, "auxiliary_reconstruction_loss": aux},
        metrics={
            "active_acts": torch.from_numpy(active_acts),
            "active_places": torch.from_numpy(flat),
            "fire_counts": counts,
        },
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


def dense_activations(output: Any) -> Tensor:
    """The activations of a step, zeros included.

    Args:
        output: What `train_step` gave.
    """
    if output.feature_acts.numel():
        acts: Tensor = output.feature_acts
        return acts
    acts = torch.zeros_like(output.hidden_pre)
    acts.view(-1)[output.metrics["active_places"]] = output.metrics["active_acts"]
    return acts


def step_metrics(trainer: Any, output: Any) -> dict[str, float]:
    """What sae-lens logs of a step, under its own names.

    Args:
        trainer: A sae-lens `SAETrainer`.
        output: What `train_step` gave.
    """
    scalars = {k: v for k, v in output.metrics.items() if np.ndim(v) == 0}
    shown = dataclasses.replace(output, metrics=scalars, feature_acts=dense_activations(output))
    found = trainer.build_train_step_log_dict(shown, trainer.n_training_samples)
    return {name: float(value) for name, value in found.items() if math.isfinite(float(value))}
