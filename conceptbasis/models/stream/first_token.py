"""What the first answer token says of a behavior, and how far an edit moves it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.models.text.wide_rows import kl_of_rows, rows_at_a_time

MIN_TOKEN_GAIN = 0.02
"""Mean probability a first token must gain on positive prompts to count as a behavior token."""


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
    n = rows_at_a_time(logits, torch.float64)
    shares = [part.double().softmax(-1)[:, tokens].sum(-1) for part in logits.split(n)]
    p = torch.cat(shares).clamp(1e-12, 1 - 1e-12)
    return (p / (1 - p)).log().cpu()


def first_token_kl(
    before: Float[Tensor, "n d_vocab"], after: Float[Tensor, "n d_vocab"]
) -> Float[Tensor, " n"]:
    """KL(before ‖ after) of the first answer token, in nats, per prompt."""
    return kl_of_rows(before, after, torch.float64).cpu()
