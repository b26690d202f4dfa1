"""What ablating a direction would do, to first order, for all candidates from one backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.centred import Stream
from conceptbasis.models.stream.hook_points import input_hook, reading_hook
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import pad_left, prompt_ids
from conceptbasis.models.text.decoding import positions

_BATCH = 16


def ablation_effects(
    loaded: LoadedModel,
    prompts: Sequence[str],
    tokens: Int[Tensor, " n_tokens"],
    stream: Stream,
    directions: Float[Tensor, "*candidates d_model"],
) -> Float[Tensor, " *candidates"]:
    """First-order change of the behavior's log-odds under the centred ablation of each direction.

    The ablation after every block takes out of block l what it adds along r, w_l = c_l − c_(l−1)
    with c = h − mean (0 at sinks). With g_l the gradient of the log-odds at the block's output:

        change(r) ≈ −rᵀ M r,   M = Σ_l Σ_positions w_l g_lᵀ, mean over prompts.

    Args:
        loaded: The model.
        prompts: Positive prompts.
        tokens: First tokens of the behavior.
        stream: Means and bounds of the ablation.
        directions: Unit directions.

    Source: attribution patching, Nanda 2023; Syed et al. 2023 (2310.10348), for a projection.
    """
    loaded.show(prompts)
    rows = prompt_ids(loaded.tokenizer, list(prompts), max_length=loaded.max_length)
    products: list[Tensor] = []

    def read(some: Sequence[list[int]]) -> None:
        products.append(_products(loaded, list(some), tokens, stream))

    run_batches(sorted(rows, key=len), _BATCH, read)
    matrix = torch.stack(products).sum(0) / len(rows)
    wide = directions.to(matrix)
    return -((wide @ matrix) * wide).sum(-1).float()


def _products(
    loaded: LoadedModel, rows: list[list[int]], tokens: Tensor, stream: Stream
) -> Float[Tensor, "d_model d_model"]:
    """Sum over prompts, positions and layers of what a block adds times the gradient after it."""
    batch = pad_left(loaded.tokenizer, rows)
    mask = batch.attention_mask.to(loaded.device)
    outputs: list[Tensor] = []
    with torch.enable_grad(), ExitStack() as stack:
        stack.enter_context(input_hook(loaded.architecture.blocks[0], _leaf))
        for block in loaded.architecture.blocks:
            stack.enter_context(reading_hook(block, outputs.append))
        logits = loaded.model(
            input_ids=batch.input_ids.to(loaded.device),
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]
        logs = logits.float().log_softmax(-1)
        own = logs[:, tokens.to(logs.device)].logsumexp(-1).clamp(max=-1e-6)
        odds = own - torch.log1p(-own.exp())
        gradients = torch.autograd.grad(odds.sum(), outputs)
    total = torch.zeros(len(stream.means[0]), len(stream.means[0]), dtype=torch.float64)
    before: Tensor | float = 0.0
    for layer, (output, gradient) in enumerate(zip(outputs, gradients, strict=True)):
        h = output.detach().float()
        left = stream.is_sink(h, layer) | (mask.to(h.device) == 0)
        centred = torch.where(left[..., None], 0.0, h - stream.means[layer].to(h.device))
        added = (centred - before).flatten(0, 1)
        total += (added.T @ gradient.float().flatten(0, 1)).double().cpu()
        before = centred
    return total


def _leaf(h: Tensor) -> Tensor:
    return h.detach().requires_grad_()
