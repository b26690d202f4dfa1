"""Which tokens a direction promotes and suppresses through the unembedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.models.loading.loaded import LoadedModel


@dataclass(frozen=True)
class TokenEffects:
    """Tokens that a direction raises and lowers the most, the strongest first."""

    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]


@torch.no_grad()
def token_effects(
    loaded: LoadedModel, directions: Float[Tensor, "n_directions d_model"], *, n_tokens: int
) -> list[TokenEffects]:
    """Reads directions through the final norm and the unembedding, without any context.

    Formula: W_U · norm(d) − W_U · norm(0), less its mean over the vocabulary.

    Args:
        loaded: The model.
        directions: Directions of the residual stream.
        n_tokens: How many tokens of each kind.

    Source: logit lens, nostalgebraist 2020. For early layers it is a hint and no more.
    """
    final_norm, unembed = loaded.architecture.final_norm, loaded.architecture.unembed
    weight = next(unembed.parameters())
    x = directions.to(weight)
    logits = unembed(final_norm(x)) - unembed(final_norm(torch.zeros_like(x[:1])))
    logits = logits.float().cpu()[:, : len(loaded.tokenizer)]
    order = (logits - logits.mean(1, keepdim=True)).argsort(dim=1)
    return [
        TokenEffects(
            tuple(_shown(loaded, i) for i in row.flip(0)[:n_tokens].tolist()),
            tuple(_shown(loaded, i) for i in row[:n_tokens].tolist()),
        )
        for row in order
    ]


def _shown(loaded: LoadedModel, token: int) -> str:
    """A token as text; one that is no text by itself by its name in the vocabulary."""
    text = loaded.tokenizer.decode([token]).strip()
    return text if text and "\ufffd" not in text else loaded.tokenizer.convert_ids_to_tokens(token)
