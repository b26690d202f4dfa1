"""Models as users hold them: compiled, parallel, wrapped by PEFT; and what they compute with."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from conceptbasis.models.loading.placement import iter_parameters
from conceptbasis.runs.files import value_hash

_SAMPLES = 1024


def unwrap(model: Any) -> Any:
    """The transformers model inside compiled, parallel and PEFT wrappers, adapters in place.

    Args:
        model: A transformers model, or wrappers around one.
    """
    while (inner := _inside(model)) is not None:
        model = inner
    return model


def _inside(model: Any) -> nn.Module | None:
    """What a wrapper holds; None where the model is none."""
    if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        return inner
    tuners = sys.modules.get("peft.tuners.tuners_utils")
    if tuners is not None and isinstance(model, tuners.BaseTuner):  # peft_model.base_model
        return model.model
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        return model.get_base_model()
    held = list(model.named_children()) if isinstance(model, nn.Module) else []
    # DataParallel, and whatever else holds a model as `module` and nothing beside it.
    return held[0][1] if [name for name, _ in held] == ["module"] else None


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
    """Hashes of the weights that a model computes with, whoever loaded it, for `same_weights`.

    Shapes and values sampled from all weights; LoRA layers count as merged, and a head that is
    tied to the embedding counts as a weight of its own, since merging may untie the two.

    Args:
        model: A transformers model, or a wrapper of one.

    Returns:
        The hash of the values rounded to bfloat16, and behind a space, where it differs, that of
        the values rounded to float16 before.
    """
    inner = unwrap(model)
    modules = dict(inner.named_modules())
    head, embedding = _owner(inner, "get_output_embeddings"), _owner(inner, "get_input_embeddings")
    parts: list[_Sample] = []
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
    parts += [sample for sample in (own_head or embedded,) if sample is not None]
    found = [value_hash([(s.shape, getattr(s, way)) for s in parts]) for way in _ROUNDINGS]
    return " ".join(dict.fromkeys(found))


def same_weights(one: str, other: str) -> bool:
    """Whether two models have the same weights, up to the rounding of one to a shorter dtype.

    A float16 copy of float32 weights is rounded twice on its way to bfloat16, which moves some
    values to the next one. So the values of the copy are held against those that the other model
    would have in float16.

    Args:
        one: As `hash_weights` gives them.
        other: The same.
    """
    a, b = one.split(), other.split()
    return bool(a and b) and (a[0] in b or b[0] in a)


def _owner(model: nn.Module, getter: str) -> str | None:
    """Name of the module that a getter of transformers gives; None without one."""
    try:
        wanted = getattr(model, getter)()
    except (AttributeError, NotImplementedError):
        return None
    names = [name for name, module in model.named_modules() if module is wanted]
    return names[0].removesuffix(".base_layer") if names else None


class _Sample(NamedTuple):
    """Values of a weight, as `_ROUNDINGS` names them."""

    shape: list[int]
    bfloat16: list[float]
    float16: list[float]


_ROUNDINGS = ("bfloat16", "float16")


def _sampled(value: Tensor) -> _Sample:
    flat = value.reshape(-1)
    step = max(1, flat.numel() // _SAMPLES)
    rounded = [
        v.to(torch.bfloat16).float().cpu() for v in (flat[::step], flat[::step].to(torch.float16))
    ]
    return _Sample(list(value.shape), *(v.tolist() for v in rounded))


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
