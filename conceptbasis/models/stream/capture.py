"""Reads sites of the residual stream in one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.errors import ModelError
from conceptbasis.models.architecture.binding import Architecture
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.hook_points import input_hook, reading_hook

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]


class _LastLayerReached(Exception):
    """Ends the forward pass once every wanted layer was read."""


def capture(
    loaded: LoadedModel,
    input_ids: Int[Tensor, "batch pos"],
    attention_mask: Int[Tensor, "batch pos"],
    *,
    layers: Iterable[int],
    site: Site = "resid_post",
    stop_after_last: bool = True,
) -> dict[int, Float[Tensor, "batch pos d_model"]]:
    """Reads a site of several layers in one forward pass of the base model.

    `attn_out` and `mlp_out` are what is added to the stream, so after a post norm where there
    is one, and resid_mid = resid_pre + attn_out. In a block with parallel residual branches
    resid_mid is that sum too, although its MLP does not read it.

    Args:
        loaded: The model.
        input_ids: Token ids, padded on either side.
        attention_mask: 1 for tokens, 0 for padding.
        layers: Indices of blocks.
        site: Where to read.
        stop_after_last: Whether to end the pass after the last wanted block.

    Returns:
        The activations by layer; values at padding mean nothing.

    Raises:
        ModelError: Unknown site, or a layer out of range.
    """
    found = capture_sites(
        loaded,
        input_ids,
        attention_mask,
        layers=layers,
        sites=(site,),
        stop_after_last=stop_after_last,
    )
    return found[site]


def capture_sites(
    loaded: LoadedModel,
    input_ids: Int[Tensor, "batch pos"],
    attention_mask: Int[Tensor, "batch pos"],
    *,
    layers: Iterable[int],
    sites: Sequence[Site],
    stop_after_last: bool = True,
) -> dict[Site, dict[int, Float[Tensor, "batch pos d_model"]]]:
    """Reads several sites of several layers in one forward pass, as `capture` reads one.

    Args:
        loaded: The model.
        input_ids: Token ids, padded on either side.
        attention_mask: 1 for tokens, 0 for padding.
        layers: Indices of blocks.
        sites: Where to read.
        stop_after_last: Whether to end the pass after the last wanted block.

    Returns:
        The activations by site and layer; values at padding mean nothing.

    Raises:
        ModelError: Unknown site, or a layer out of range.
    """
    wanted = sorted(set(layers))
    architecture = loaded.architecture
    _check_places(loaded, wanted, sites)
    found: dict[Site, dict[int, Tensor]] = {site: {} for site in sites}
    with ExitStack() as stack, torch.no_grad():
        for site in sites:
            for layer in wanted:
                _read(stack, architecture, layer, site, found[site])
        if stop_after_last and wanted:
            stack.enter_context(reading_hook(architecture.blocks[wanted[-1]], _stop))
        with suppress(_LastLayerReached):
            forward_body(loaded, input_ids, attention_mask)
    return {site: {layer: found[site][layer] for layer in wanted} for site in sites}


def _check_places(loaded: LoadedModel, layers: list[int], sites: Sequence[Site]) -> None:
    for site in sites:
        if site not in get_args(Site):
            raise ModelError(
                f"unknown site {site!r}", expected=f"one of {get_args(Site)}", fix="name one"
            )
    for layer in layers:
        if not 0 <= layer < loaded.architecture.n_layers:
            raise ModelError(
                f"layer {layer} of {loaded.name}",
                expected=f"0 to {loaded.architecture.n_layers - 1}",
                fix="name a layer the model has",
            )


def forward_body(
    loaded: LoadedModel,
    input_ids: Int[Tensor, "batch pos"],
    attention_mask: Int[Tensor, "batch pos"],
) -> Tensor:
    """Runs the base model once, without unembedding and without a cache.

    Args:
        loaded: The model.
        input_ids: Token ids, padded on either side.
        attention_mask: 1 for tokens, 0 for padding.

    Returns:
        The output of the final norm, `(batch, pos, d_model)`.
    """
    mask = attention_mask.to(loaded.device)
    # Learned positions do not follow the mask by themselves, so left padding needs them given.
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    body: Any = loaded.architecture.body
    return body(
        input_ids=input_ids.to(loaded.device),
        attention_mask=mask,
        position_ids=positions,
        use_cache=False,
    ).last_hidden_state


def _read(
    stack: ExitStack, architecture: Architecture, layer: int, site: Site, found: dict[int, Tensor]
) -> None:
    def keep(h: Tensor) -> None:
        found[layer] = h

    def keep_sum(h: Tensor) -> None:
        found[layer] = found[layer].to(h.device) + h  # a block may run on another device

    block = architecture.blocks[layer]
    if site == "resid_post":
        stack.enter_context(reading_hook(block, keep))
    elif site == "attn_out":
        stack.enter_context(reading_hook(architecture.attention_added(layer), keep))
    elif site == "mlp_out":
        stack.enter_context(reading_hook(architecture.mlp_added(layer), keep))
    else:
        stack.enter_context(input_hook(block, keep))
        if site == "resid_mid":
            stack.enter_context(reading_hook(architecture.attention_added(layer), keep_sum))


def _stop(h: Tensor) -> None:
    raise _LastLayerReached
