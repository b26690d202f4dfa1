"""Models as users hold them: compiled, or wrapped by PEFT; and what weights they compute with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from conceptbasis.models.loading.placement import iter_parameters
from conceptbasis.runs.files import value_hash

_SAMPLES = 1024


def unwrap(model: Any) -> Any:
    """The transformers model inside a compiled or PEFT-wrapped one, adapters in place.

    Args:
        model: A transformers model, or a wrapper of one.
    """
    model = getattr(model, "_orig_mod", model)
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return getattr(model, "_orig_mod", model)


def is_compiled(model: Any) -> bool:
    """Whether torch compiled the model or a part of it."""
    compiled = "_compiled_call_impl"
    return hasattr(model, "_orig_mod") or any(
        hasattr(m, "_orig_mod") or getattr(m, compiled, None) is not None for m in model.modules()
    )


def adapters_in(model: nn.Module) -> list[str]:
    """Names of the layers that a PEFT adapter changes while the model runs."""
    return [name for name, module in model.named_modules() if _deltas(module)]


@torch.no_grad()
def hash_weights(model: Any) -> str:
    """A hash of the weights that a model computes with, whoever loaded it, in whatever dtype.

    Shapes and values sampled from all weights, rounded to bfloat16; LoRA layers count as merged,
    and a head that is tied to the embedding counts as a weight of its own, since merging may untie
    the two. A bfloat16 copy of float32 weights has their hash; so have weights that differ by less
    than such rounding.

    Args:
        model: A transformers model, or a wrapper of one.
    """
    inner = unwrap(model)
    modules = dict(inner.named_modules())
    head, embedding = _owner(inner, "get_output_embeddings"), _owner(inner, "get_input_embeddings")
    parts: list[Any] = []
    embedded = own_head = None
    for name, parameter in iter_parameters(inner):
        owner, _, attribute = name.rpartition(".")
        path = owner.split(".")
        if any(part.startswith(("lora_", "modules_to_save")) for part in path):
            continue
        value: Tensor = parameter.detach()
        if attribute == "weight" and owner.removesuffix(".base_layer") == embedding:
            embedded = _sampled(value)
        if path[-1] == "base_layer" and attribute == "weight":
            for delta in _deltas(modules[owner.removesuffix(".base_layer")]):
                value = value + delta.to(value.dtype)
        if attribute == "weight" and owner.removesuffix(".base_layer") == head != embedding:
            own_head = _sampled(value)
        else:
            parts.append(_sampled(value))
    return value_hash([*parts, own_head or embedded])


def _owner(model: nn.Module, getter: str) -> str | None:
    """Name of the module that a getter of transformers gives; None without one."""
    try:
        wanted = getattr(model, getter)()
    except (AttributeError, NotImplementedError):
        return None
    names = [name for name, module in model.named_modules() if module is wanted]
    return names[0].removesuffix(".base_layer") if names else None


def _sampled(value: Tensor) -> tuple[list[int], list[float]]:
    flat = value.reshape(-1)
    step = max(1, flat.numel() // _SAMPLES)
    return list(value.shape), flat[::step].to(torch.bfloat16).float().cpu().tolist()


def _deltas(module: Any) -> list[Tensor]:
    """What active adapters of a PEFT layer add to its weight; none where they are merged or off."""
    if not hasattr(module, "base_layer") or not hasattr(module, "get_delta_weight"):
        return []
    if module.merged or module.disable_adapters:
        return []
    return [
        module.get_delta_weight(name)
        for name in module.active_adapters
        if name in getattr(module, "lora_A", {}) or name in getattr(module, "lora_embedding_A", {})
    ]
