"""Merges a PEFT adapter into its base model, so that edits reach what the adapter writes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptbasis.errors import ModelError
from conceptbasis.models.loading.fetching import require_package
from conceptbasis.models.loading.source import UNREADABLE, Source, unreadable

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_N_TOKENS = 6
_TOLERANCE = {torch.bfloat16: 0.1, torch.float16: 0.02}
"""Of logits, as a share of the largest; 0.001 in wider formats."""
_MOST_LOST = 0.1
"""Share of the adapter's change that rounding may take without a warning."""


def merge_adapter(model: Any, adapter: Source) -> Any:
    """The base model with the adapter's changes in its own weights.

    Sums are made in float32 and rounded once. An adapter that changes the embedding or the head of
    a model that ties them leaves each with weights of its own, as the adapted model computes. The
    merged model must give the logits of the adapted one on a few tokens.

    Args:
        model: A transformers model with plain weights.
        adapter: A local folder or hub id of a PEFT adapter in safetensors.

    Returns:
        The merged model, of the base model's class.

    Raises:
        ModelError: peft is not installed, the base is quantised, or the adapter is missing,
            damaged, in pickle format, made for another model, or cannot be merged exactly.
    """
    wrapped = _open_adapter(model, adapter)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = _probe(wrapped)
            _check_embeddings_in_memory(wrapped.get_base_model(), adapter)
            _untie(wrapped.get_base_model())
            lost = _merge_layers(wrapped)
            merged = wrapped.merge_and_unload(safe_merge=True)
            _prove(_probe(merged), adapted, merged.dtype, adapter)
    except UNREADABLE as error:
        raise unreadable("adapter", adapter, error) from error
    if lost > _MOST_LOST:
        kind = str(merged.dtype).removeprefix("torch.")
        warnings.warn(
            f"merged into weights in {kind}, adapter {adapter.name} loses {lost:.0%} of its change "
            "to rounding; `dtype: float32` keeps all of it",
            stacklevel=2,
        )
    return merged


def examine_adapter(model: Any, adapter: Source) -> bool:
    """Merges an adapter into a model without weights, and refuses what `merge_adapter` refuses.

    Args:
        model: A transformers model on the meta device.
        adapter: As in `merge_adapter`.

    Returns:
        Whether embedding and head are one parameter afterwards.

    Raises:
        ModelError: as in `merge_adapter`, but for what only weights tell.
    """
    model.tie_weights()
    tied = _one_parameter(model)
    wrapped = _open_adapter(model, adapter, on_meta=True)
    # Without weights peft does not tie the copies of `modules_to_save`, with weights it does.
    ensured = getattr(wrapped.active_peft_config, "ensure_weight_tying", False)
    copies = [hasattr(m, "original_module") for m in _embeddings(wrapped.get_base_model())]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _untie(wrapped.get_base_model())
            merged = wrapped.merge_and_unload(safe_merge=False)
    except (*UNREADABLE, NotImplementedError) as error:
        raise unreadable("adapter", adapter, error) from error
    return tied and ((ensured and all(copies)) or _one_parameter(merged))


def check_plain_weights(adapter: Source, quantised: object) -> None:
    """Refuses an adapter for a model whose weights are packed.

    Args:
        adapter: The adapter.
        quantised: How they are packed; nothing where they are not.

    Raises:
        ModelError: They are.
    """
    if quantised:
        raise ModelError(
            f"adapter {adapter.name} on a quantised model",
            expected="a base model in a floating-point format, into which the adapter is merged",
            fix="remove `quantization`, or merge the adapter and save the model beforehand",
        )


def _open_adapter(model: Any, adapter: Source, *, on_meta: bool = False) -> Any:
    require_package("peft", f"adapter: {adapter.name}")
    stored = getattr(model.config, "quantization_config", None)
    check_plain_weights(adapter, getattr(model, "hf_quantizer", None) or stored)
    folder = _adapter_folder(adapter)
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            wrapped = PeftModel.from_pretrained(
                model, str(folder), is_trainable=False, low_cpu_mem_usage=on_meta
            )
        for warning in caught:
            if "missing adapter keys" in str(warning.message):
                raise ValueError(str(warning.message))
    except UNREADABLE as error:
        raise unreadable("adapter", adapter, error) from error
    if not hasattr(wrapped.base_model, "merge_and_unload"):
        kind = wrapped.active_peft_config.peft_type
        raise ModelError(
            f"adapter {adapter.name} of the kind {getattr(kind, 'value', kind)}",
            expected="an adapter that can be merged into weights, such as LoRA",
            fix="use an adapter of another kind, or a fine-tuned model",
        )
    return wrapped.eval()


def _embeddings(base: Any) -> list[nn.Module]:
    found = (base.get_input_embeddings(), base.get_output_embeddings())
    return [module for module in found if module is not None]


def _one_parameter(model: Any) -> bool:
    weights = [module.weight for module in _embeddings(model)]
    return len(weights) == 2 and weights[0] is weights[1]


def _shared(base: Any) -> list[nn.Module]:
    """Embedding and head where they share weights into which the adapter would be merged."""
    modules = _embeddings(base)
    plain = [getattr(module, "base_layer", module) for module in modules]
    if len(plain) == 2 and plain != modules and plain[0].weight is plain[1].weight:
        return plain
    return []


def _check_embeddings_in_memory(base: Any, adapter: Source) -> None:
    if any(module.weight.is_meta for module in _shared(base)):
        raise ModelError(
            f"adapter {adapter.name} changes embeddings that are tied and offloaded",
            expected="embeddings in memory, of which embedding and head get one each",
            fix="raise `max_memory`, or merge the adapter and save the model beforehand",
        )


def _untie(base: Any) -> None:
    """Gives the head weights of its own where it shares those of the embedding and one changes.

    The sum of a weight and its change must not reach a module that the adapter leaves as it is, nor
    one that gets the same sum of its own.
    """
    if not (modules := _shared(base)):
        return
    head: Any = modules[1]
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for config in (base.config, base.config.get_text_config()):
        config.tie_word_embeddings = False


def _merge_layers(wrapped: Any) -> float:
    """Merges layer by layer; gives the share of the change that rounding takes, by its norm."""
    from peft.tuners.tuners_utils import BaseTunerLayer, onload_layer

    changed = lost = 0.0
    for layer in wrapped.modules():
        if isinstance(layer, BaseTunerLayer):
            with onload_layer(layer), _widened(layer.get_base_layer()) as squares:
                layer.merge(safe_merge=True)
            changed, lost = changed + squares[0], lost + squares[1]
    return (lost / changed) ** 0.5 if changed else 0.0


@contextmanager
def _widened(module: nn.Module) -> Iterator[list[float]]:
    """A module's parameters in float32; afterwards, squared norms of the change and its loss."""
    before = {
        name: (parameter.dtype, parameter.data.float())
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dtype in _TOLERANCE
    }
    for name, (_, value) in before.items():
        getattr(module, name).data = value.clone()
    squares = [0.0, 0.0]
    yield squares
    for name, (dtype, value) in before.items():
        parameter = getattr(module, name)
        wide = parameter.data.float()
        parameter.data = wide.to(dtype)
        squares[0] += float((wide - value).square().sum())
        squares[1] += float((parameter.data.float() - wide).square().sum())


def _probe(model: Any) -> Float[Tensor, "1 pos d_vocab"]:
    """Logits of a few tokens."""
    ids = torch.arange(1, _N_TOKENS + 1)[None] % model.config.get_text_config().vocab_size
    device = ids.device if model.device.type == "meta" else model.device
    return model(input_ids=ids.to(device), use_cache=False).logits.float().cpu()


def _prove(merged: Tensor, adapted: Tensor, dtype: torch.dtype, adapter: Source) -> None:
    off = float((merged - adapted).abs().max())
    most = _TOLERANCE.get(dtype, 1e-3) * float(adapted.abs().max())
    if not off <= most:
        raise ModelError(
            f"merged, adapter {adapter.name} moves a logit by {off:.3g} from the adapted model",
            expected=f"the same logits, to {most:.3g}",
            fix="merge the adapter and save the model beforehand, if you trust that merge",
        )


def _adapter_folder(adapter: Source) -> Path:
    """The adapter's folder, fetched from the hub where it is none; never pickled weights."""
    folder = Path(adapter.name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(
                    adapter.name,
                    revision=adapter.revision,
                    local_files_only=adapter.offline,
                    allow_patterns=[_CONFIG, _WEIGHTS],
                )
            )
        except UNREADABLE as error:
            raise unreadable("adapter", adapter, error) from error
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"the adapter {adapter.name} has no {missing[0]}",
            expected=f"{_CONFIG} and {_WEIGHTS}",
            fix="name a PEFT adapter saved as safetensors",
        )
    return folder
