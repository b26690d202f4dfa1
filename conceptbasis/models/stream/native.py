"""A model's own directions of a behavior and its single best one by the published rule.

The donor's per-layer directions start a transfer. The target's own ("native") are the upper bound,
measured only after the transfer's artifacts are hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.directions.difference import Selection, difference_of_means, select_direction
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import end_of_prompt_ids, pad_left, prompt_ids
from conceptbasis.models.text.generation import first_token_logits

Progress = Callable[[int, int], None]
_ROWS = 64
"""Rows of logits that are widened to float64 at once; a row of a large vocabulary takes 2 MB."""
MIN_TOKEN_GAIN = 0.02
"""Mean probability a first token must gain on positive prompts to count as a behavior token."""


@dataclass(frozen=True)
class Native:
    """A model's own directions.

    Args:
        per_layer: Unit difference of means at the chosen position, one per layer.
        norms: Norm of each difference.
        selection: Table and pick of the published rule; not found leaves `single` None.
        single: The picked direction.
        behavior_tokens: First tokens that positive prompts make likelier.
    """

    per_layer: Float[Tensor, "n_layers d_model"]
    norms: Float[Tensor, " n_layers"]
    selection: Selection
    single: Float[Tensor, " d_model"] | None
    behavior_tokens: Int[Tensor, " n_tokens"]


def end_activations(
    loaded: LoadedModel, prompts: Sequence[str], *, batch_size: int = 64
) -> Float[Tensor, "n_positions n_layers n d_model"]:
    """Residuals after each block at the end-of-prompt positions, the last position last.

    Args:
        loaded: The model.
        prompts: One user message each.
        batch_size: Prompts at a time, fewer where memory runs out.
    """
    n_positions = len(end_of_prompt_ids(loaded.tokenizer))
    layers = range(loaded.architecture.n_layers)
    loaded.show(prompts)
    rows = prompt_ids(loaded.tokenizer, list(prompts), max_length=loaded.max_length)
    parts = []

    def read(some: Sequence[list[int]]) -> None:
        batch = pad_left(loaded.tokenizer, list(some))
        found = capture(loaded, batch.input_ids, batch.attention_mask, layers=layers)
        stacked = torch.stack([found[layer][:, -n_positions:].float().cpu() for layer in layers])
        parts.append(stacked.permute(2, 0, 1, 3))

    run_batches(rows, batch_size, read)
    return torch.cat(parts, dim=2)


def find_behavior_tokens(
    positive: Float[Tensor, "n_positive d_vocab"], negative: Float[Tensor, "n_negative d_vocab"]
) -> Int[Tensor, " n_tokens"]:
    """First tokens whose mean probability is higher on positive prompts by `MIN_TOKEN_GAIN`.

    Args:
        positive: First-token logits on positive prompts.
        negative: The same on negative prompts.

    Returns:
        Token ids, the largest gain first; at least one.
    """
    gain = positive.softmax(-1).mean(0) - negative.softmax(-1).mean(0)
    order = gain.argsort(descending=True)
    return order[: max(1, int((gain > MIN_TOKEN_GAIN).sum()))].cpu()


def behavior_score(
    logits: Float[Tensor, "n d_vocab"], tokens: Int[Tensor, " n_tokens"]
) -> Float[Tensor, " n"]:
    """log p/(1 − p) with p the probability of the behavior tokens together.

    Args:
        logits: First-token logits.
        tokens: Behavior tokens.

    Source: Arditi et al. 2024 (2406.11717), section 2.3.
    """
    shares = [part.double().softmax(-1)[:, tokens].sum(-1) for part in logits.split(_ROWS)]
    p = torch.cat(shares).clamp(1e-12, 1 - 1e-12)
    return (p / (1 - p)).log().cpu()


def ablation_everywhere(loaded: LoadedModel, direction: Tensor) -> list[Edit]:
    """The edits that ablate one direction from the stream after every block."""
    return [Edit(layer, direction) for layer in range(loaded.architecture.n_layers)]


def first_token_kl(
    before: Float[Tensor, "n d_vocab"], after: Float[Tensor, "n d_vocab"]
) -> Float[Tensor, " n"]:
    """KL(before ‖ after) of the first answer token, in nats, per prompt."""
    parts = []
    for p, q in zip(before.split(_ROWS), after.split(_ROWS), strict=True):
        log_p, log_q = p.double().log_softmax(-1), q.double().log_softmax(-1)
        parts.append((log_p.exp() * (log_p - log_q)).sum(-1).cpu())
    return torch.cat(parts)


def measure_native(
    loaded: LoadedModel,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    n_select: int = 64,
    max_kl: float = 0.1,
    layer_fraction: float = 0.8,
    progress: Progress = lambda done, of: None,
) -> Native:
    """Difference of means per layer and position, and the published selection among them.

    Args:
        loaded: The model.
        positive: Prompts that show the behavior.
        negative: Prompts that do not.
        n_select: Prompts of each class that the selection uses; the rest make the means.
        max_kl: Largest first-token KL on negative prompts under ablation.
        layer_fraction: Candidates at or above this share of the layers are out.
        progress: Told how many candidates are scored.
    """
    n_select = min(n_select, len(positive) // 2, len(negative) // 2)
    positives = end_activations(loaded, positive[n_select:])
    negatives = end_activations(loaded, negative[n_select:])
    n_positions, n_layers = positives.shape[:2]
    directions = [
        [difference_of_means(positives[p, layer], negatives[p, layer]) for layer in range(n_layers)]
        for p in range(n_positions)
    ]
    base_positive = first_token_logits(loaded, list(positive[:n_select]))
    base_negative = first_token_logits(loaded, list(negative[:n_select]))
    tokens = find_behavior_tokens(base_positive, base_negative)
    scores = torch.zeros(3, n_positions, n_layers)
    for p in range(n_positions):
        for layer in range(n_layers):
            scores[:, p, layer] = _score(
                loaded,
                directions[p][layer].unit,
                directions[p][layer].norm,
                layer,
                (list(positive[:n_select]), list(negative[:n_select])),
                base_negative,
                tokens,
            )
            progress(p * n_layers + layer + 1, n_positions * n_layers)
    selection = select_direction(*scores, max_kl=max_kl, layer_fraction=layer_fraction)
    last = directions[-1]
    return Native(
        torch.stack([d.unit for d in last]),
        torch.tensor([d.norm for d in last]),
        selection,
        directions[selection.position][selection.layer].unit
        if selection.position is not None and selection.layer is not None
        else None,
        tokens,
    )


def _score(
    loaded: LoadedModel,
    unit: Tensor,
    norm: float,
    layer: int,
    prompts: tuple[list[str], list[str]],
    base_negative: Tensor,
    tokens: Tensor,
) -> Tensor:
    """Bypass score, induce score and KL of one candidate."""
    positive, negative = prompts
    with intervene(loaded, ablation_everywhere(loaded, unit)):
        bypass = behavior_score(first_token_logits(loaded, positive), tokens).mean()
        kl = first_token_kl(base_negative, first_token_logits(loaded, negative)).mean()
    with intervene(loaded, [Edit(layer, unit, "add", amount=norm)]):
        induce = behavior_score(first_token_logits(loaded, negative), tokens).mean()
    return torch.stack([bypass, induce, kl]).float()
