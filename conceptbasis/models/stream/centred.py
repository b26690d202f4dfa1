"""Ablation that holds a direction's reading at its benign mean and leaves attention sinks alone.

Models whose stream has a large common mean break under plain ablation whatever the direction is,
and most of the damage of any edit comes from the sink positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptbasis.config.base import SINK_RATIO
from conceptbasis.core.statistics.outliers import ordinary_sites
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.hooks import Edit
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import pad_left, prompt_ids

_BATCH = 32


@dataclass(frozen=True)
class Stream:
    """What an edit must know of a model's stream.

    Args:
        means: Mean of ordinary positions on benign requests, by layer.
        bounds: Norm above which a position is a sink, by layer.
        ends: Residuals where each request ends, by layer.
    """

    means: Float[Tensor, "n_layers d_model"]
    bounds: Float[Tensor, " n_layers"]
    ends: Float[Tensor, "n_layers n_requests d_model"]

    def is_sink(self, h: Float[Tensor, "*batch d_model"], layer: int) -> Bool[Tensor, "*batch"]:
        """Whether each position of a layer is one that edits leave alone."""
        return h.float().norm(dim=-1) > self.bounds[layer].to(h.device)


def read_stream(loaded: LoadedModel, prompts: Sequence[str]) -> Stream:
    """Means and sink bounds of the stream on benign requests, all their positions.

    Args:
        loaded: The model.
        prompts: User messages.
    """
    layers = range(loaded.architecture.n_layers)
    loaded.show(prompts)
    parts: list[Tensor] = []
    ends: list[Tensor] = []

    def read(some: Sequence[list[int]]) -> None:
        batch = pad_left(loaded.tokenizer, list(some))
        found = capture(loaded, batch.input_ids, batch.attention_mask, layers=layers)
        kept = batch.attention_mask.bool()
        parts.append(torch.stack([found[layer].cpu().float()[kept] for layer in layers]))
        ends.append(torch.stack([found[layer][:, -1].cpu().float() for layer in layers]))

    run_batches(prompt_ids(loaded.tokenizer, list(prompts)), _BATCH, read)
    stream = torch.cat(parts, dim=1)
    norms = stream.norm(dim=-1)
    bounds = SINK_RATIO * norms.median(dim=1).values
    keep = ordinary_sites(dict(enumerate(norms)), dict(enumerate(bounds.tolist())))
    return Stream(stream[:, keep].mean(1), bounds, torch.cat(ends, dim=1))


def centred_ablation(
    direction: Float[Tensor, " d_model"],
    stream: Stream,
    *,
    offset: float = 0.0,
    layers: Sequence[int] | None = None,
) -> list[Edit]:
    """The edits that hold the stream's reading of a direction at its mean after every block.

    Formula: h − r rᵀ(h − mean + offset σ r) at ordinary positions, h at sinks; σ the standard
    deviation of rᵀh where benign requests end.

    Args:
        direction: Unit vector r.
        stream: Means and bounds.
        offset: How far below the mean, in standard deviations.
        layers: The blocks; None is every one.
    """
    spreads = (stream.ends @ direction).std(dim=1)
    means = stream.means - offset * spreads[:, None] * direction
    return [
        Edit(layer, direction, "affine", mean=means[layer], max_norm=float(stream.bounds[layer]))
        for layer in (range(len(means)) if layers is None else layers)
    ]
