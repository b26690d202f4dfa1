"""Whether SAEs from elsewhere fit a model: what differs is named, a wrong scale is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.moments import explained_variance
from conceptbasis.errors import SaeError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import Text, encode_texts
from conceptbasis.saes.sae import Sae

_VARIANTS = re.compile(
    r"-(?:it|instruct|chat|base|pt|hf|sft|dpo|rlhf|\d{4}|v\d+(?:\.\d+)?)(?=-|$)", re.IGNORECASE
)
_GAIN = 0.2
"""Explained variance that another scale must bring before the given one is called wrong."""
_N_SITES = 2048


def fit_warnings(
    loaded: LoadedModel, saes: Mapping[int, Sae], texts: Sequence[Text], model: str
) -> list[str]:
    """How a model and its text differ from what SAEs say they were trained on.

    Args:
        loaded: The model.
        saes: Its SAEs by layer; width, layer and site are known to fit.
        texts: Text that the model will read.
        model: What its configuration calls it: a hub id, a folder, or an organism.

    Returns:
        One line for each difference, none where the SAEs do not say.
    """
    lines = []
    trained_on = sorted({sae.trained_on for sae in saes.values() if sae.trained_on})
    for name in trained_on:
        if (line := _other_model(name, model)) is not None:
            lines.append(line)
    loaded.show(texts)
    batch = encode_texts(loaded.tokenizer, list(texts))
    opens_with_bos = bool(
        loaded.tokenizer.bos_token_id is not None
        and (_first_tokens(batch.input_ids, batch.attention_mask) == loaded.tokenizer.bos_token_id)
        .float()
        .mean()
        > 0.5
    )
    said = {sae.prepend_bos for sae in saes.values()} - {None}
    if said and opens_with_bos not in said:
        words = ("texts without BOS", "texts that open with BOS")
        lines.append(
            f"prepend-BOS: they were trained on {words[not opens_with_bos]}, the chat template "
            f"makes {words[opens_with_bos]}"
        )
    sizes = [sae.context_size for sae in saes.values() if sae.context_size]
    longest = int(batch.attention_mask.sum(1).max())
    if sizes and longest > min(sizes):
        lines.append(
            f"context length: they were trained on {min(sizes)} tokens, the longest text has "
            f"{longest}"
        )
    return lines


def _first_tokens(ids: Tensor, mask: Tensor) -> Tensor:
    return ids.gather(1, mask.int().argmax(1, keepdim=True))[:, 0]


def _other_model(trained_on: str, model: str) -> str | None:
    """What to say of two names; None where they are the same model."""
    said, own = (name.rstrip("/").split("/")[-1].lower() for name in (trained_on, model))
    if said == own:
        return None
    if _VARIANTS.sub("", said) == _VARIANTS.sub("", own):
        return f"model: they were trained on {trained_on}, another variant of {model}"
    return f"model: they were trained on {trained_on}, not on {model}"


def check_scale(
    saes: Mapping[int, Sae], residuals: Mapping[int, Float[Tensor, "n d_model"]]
) -> None:
    """Refuses SAEs whose inputs were scaled in training, where that is not folded into them.

    Many are trained on activations of mean norm √d_model. Without the factor they rebuild raw
    residuals badly and scaled ones well.

    Args:
        saes: By layer.
        residuals: Raw residuals of each layer.

    Raises:
        SaeError: With the factor that seems to be missing.
    """
    for layer, sae in saes.items():
        x = residuals[layer][:_N_SITES].float()
        scale = sae.d_model**0.5 / float(x.norm(dim=-1).mean())
        plain = explained_variance(x, sae.reconstruct(x))
        scaled = explained_variance(x, sae.reconstruct(x * scale) / scale)
        if torch.tensor([plain, scaled]).isfinite().all() and scaled > max(plain, 0) + _GAIN:
            raise SaeError(
                f"{sae.name} explains {plain:.2f} of the variance of layer {layer}, and "
                f"{scaled:.2f} where residuals are multiplied by {scale:.4g}",
                expected="an SAE of raw residuals",
                fix=f"set saes.activation_scale (about {scale:.4g} here; better the factor that "
                "its publisher states), which is folded into the SAE",
            )
