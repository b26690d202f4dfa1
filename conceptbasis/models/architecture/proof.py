"""Proves on a few tokens that a row of the architecture table describes what a model computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from conceptbasis.errors import ModelError, reason
from conceptbasis.models.architecture.binding import WriterSlot
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import Site, capture_sites

_SITES: tuple[Site, ...] = ("resid_pre", "attn_out", "mlp_out", "resid_post")
_N_TOKENS = 6
_TOLERANCE = {torch.bfloat16: 0.05, torch.float16: 0.02}


def prove_sites(loaded: LoadedModel) -> None:
    """Checks that each block adds attention and MLP to its input and hands the sum on.

    Formula: resid_pre + attn_out + mlp_out = resid_post, and resid_post of a block is
    resid_pre of the next.

    Args:
        loaded: The model.

    Raises:
        ModelError: It does not, so that the row names wrong modules or the model scales what a
            writer adds.
    """
    found = read_sites(loaded)
    for layer in range(loaded.architecture.n_layers):
        parts = [found[site][layer] for site in _SITES]
        for site, part in zip(_SITES, parts, strict=True):
            if part.shape != parts[0].shape:
                raise _wrong_row(loaded, f"{site} of layer {layer} has {part.shape[-1]} columns")
        added = parts[0] + parts[1] + parts[2]
        _require(loaded, layer, added, parts[3], "resid_pre + attn_out + mlp_out")
        if layer:
            before = found["resid_post"][layer - 1]
            _require(loaded, layer, before, parts[0], "what the block before it gave")


def prove_writers(loaded: LoadedModel) -> None:
    """Checks that the row names every writer, and a norm after a writer exactly where one is.

    What is added to the stream doubles with the writers unless a norm follows them. A model
    with quantised or offloaded weights is not checked; its weights cannot be edited anyway.

    Args:
        loaded: The model.

    Raises:
        ModelError: A writer is missing from the row, or a norm is, or is there by mistake.
    """
    architecture = loaded.architecture
    if any(s.locked for i in range(architecture.n_layers) for s in architecture.writers(i)):
        return
    found = read_sites(loaded)
    row = architecture.row
    for layer in range(architecture.n_layers):
        norms: dict[Site, str | None] = {"attn_out": row.attention_norm, "mlp_out": row.mlp_norm}
        for site, norm in norms.items():
            slots = [s for s in architecture.writers(layer) if _writes(s, site)]
            with _doubled(slots):
                now = read_sites(loaded)[site][layer]
            doubles = _close(now, 2 * found[site][layer], loaded.model.dtype)
            if doubles and norm is not None and float(now.norm()) > 0:
                raise _wrong_row(loaded, f"{norm} does not act on {site} of layer {layer}")
            if not doubles and norm is None:
                raise _wrong_row(
                    loaded,
                    f"{site} of layer {layer} does not double with its writers "
                    f"({', '.join(s.name for s in slots)}): one is missing, or a norm follows",
                )


def read_sites(loaded: LoadedModel) -> dict[Site, list[Tensor]]:
    """Every site of every layer on a few tokens, in float32 on the CPU."""
    n_tokens = min(_N_TOKENS, loaded.max_length or _N_TOKENS)
    ids = torch.arange(1, n_tokens + 1)[None] % loaded.architecture.d_vocab
    layers = range(loaded.architecture.n_layers)
    try:
        found = capture_sites(loaded, ids, torch.ones_like(ids), layers=layers, sites=_SITES)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ImportError) as error:
        raise ModelError(
            f"{loaded.name} cannot read {n_tokens} tokens: {reason(error)}",
            expected="a model that runs on this machine with the settings of its config.json",
            fix="check config.json and the settings of the device; the same fails with "
            "transformers alone",
        ) from error
    return {site: [found[site][layer].float().cpu() for layer in layers] for site in _SITES}


@contextmanager
def _doubled(slots: list[WriterSlot]) -> Iterator[None]:
    """Doubles writers and their biases; doubling and halving are exact in floating point."""
    tensors = [
        getattr(slot.module, name) for slot in slots for name in (slot.weight, slot.bias) if name
    ]
    for tensor in tensors:
        tensor.data.mul_(2)
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.data.div_(2)


def _writes(slot: WriterSlot, site: str) -> bool:
    return (slot.kind == "attention") == (site == "attn_out")


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    distance = float((found - expected).norm())
    return distance <= _TOLERANCE.get(dtype, 1e-3) * float(expected.norm()) + 1e-6


def _require(loaded: LoadedModel, layer: int, expected: Tensor, found: Tensor, what: str) -> None:
    finite = bool(torch.isfinite(found).all())  # measurements say it where it is not
    if finite and not _close(found, expected, loaded.model.dtype):
        raise _wrong_row(loaded, f"the stream at layer {layer} is not {what}")


def _wrong_row(loaded: LoadedModel, what: str) -> ModelError:
    return ModelError(
        f"{loaded.name}: {what}",
        expected=f"a model that computes what the row of {loaded.architecture.model_type} says",
        fix="correct the paths in the key `architecture`, or in ARCHITECTURES; a model that "
        "scales its residual branches is not supported",
    )
