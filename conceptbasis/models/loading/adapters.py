"""Merges a PEFT adapter into its base model, so that edits reach what the adapter writes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from conceptbasis.errors import ModelError
from conceptbasis.models.loading.fetching import require_package
from conceptbasis.models.loading.source import UNREADABLE, Source, unreadable

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def merge_adapter(model: Any, adapter: Source) -> Any:
    """The base model with the adapter's changes in its own weights.

    Args:
        model: A transformers model with plain weights.
        adapter: A local folder or hub id of a PEFT adapter in safetensors.

    Returns:
        The merged model, of the base model's class.

    Raises:
        ModelError: peft is not installed, the base is quantised, or the adapter is missing,
            damaged, in pickle format, or made for another model.
    """
    require_package("peft", f"adapter: {adapter.name}")
    if getattr(model, "hf_quantizer", None) is not None:
        raise ModelError(
            f"adapter {adapter.name} on a quantised model",
            expected="a base model in a floating-point format, into which the adapter is merged",
            fix="remove `quantization`, or merge the adapter and save the model beforehand",
        )
    folder = _adapter_folder(adapter)
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            wrapped = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        for warning in caught:
            if "missing adapter keys" in str(warning.message):
                raise ValueError(str(warning.message))
        return wrapped.merge_and_unload(safe_merge=True)
    except UNREADABLE as error:
        raise unreadable("adapter", adapter, error) from error


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
