"""Fetches configuration, tokenizer and weights from a folder or the hub, and says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from conceptbasis.errors import ModelError
from conceptbasis.models.loading.claims import check_claims
from conceptbasis.models.loading.devices import check_device
from conceptbasis.models.loading.gguf import Header, dequantised, read_header
from conceptbasis.models.loading.gguf_tokenizer import check_tokenizer
from conceptbasis.models.loading.source import UNREADABLE, Source, unreadable

Quantization = Literal["8bit", "4bit"]
Place = str | int

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Placement:
    """How weights are held.

    Args:
        dtype: One of float32, float64, bfloat16, float16.
        device: A torch device, where there is no device map.
        device_map: `auto`, `balanced`, `balanced_low_0`, `sequential`, or a device by module.
        max_memory: The most memory by device, as {0: 20GiB, cpu: 60GiB}.
        offload_folder: Where a device map may put weights on disk.
        quantization: 8bit or 4bit, by bitsandbytes; the model can be measured and hooked only.
    """

    dtype: str = "float32"
    device: str = "cpu"
    device_map: str | Mapping[str, Place] | None = None
    max_memory: Mapping[Place, str] | None = None
    offload_folder: str | None = None
    quantization: Quantization | None = None


def model_class(config: Any) -> Any:
    """The class of transformers' Auto family that makes a model which generates text.

    Args:
        config: The model's configuration.

    Returns:
        That of causal language models, or that of models with images where there is no other.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    images = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    only_images = config.model_type in images and config.model_type not in causal
    return AutoModelForImageTextToText if only_images else AutoModelForCausalLM


def load_config(source: Source) -> Any:
    """The model's configuration, without its weights.

    Raises:
        ModelError: Not found, damaged, or it wants code of its own to run.
    """
    from transformers import AutoConfig

    _forbid_adapter_folder(source)
    gguf_header(source)
    try:
        return AutoConfig.from_pretrained(source.place, **source.options())
    except UNREADABLE as error:
        raise unreadable("model", source, error) from error


def load_tokenizer(source: Source, adapter: Source | None = None) -> Any:
    """The model's tokenizer; that of a GGUF file is held against the file.

    Args:
        source: The model.
        adapter: What is merged into it. A tokenizer that was saved with it comes first: its tokens
            and chat template are those that the adapter was trained with.

    Raises:
        ModelError: Not found, damaged, or read wrongly by this version of transformers.
    """
    from transformers import AutoTokenizer

    if adapter is not None and _has_tokenizer(adapter):
        source = adapter
    else:
        _forbid_adapter_folder(source)
    header = gguf_header(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.place, **source.options())
    except Exception as error:
        # The tokenizers library raises plain Exception over a damaged tokenizer.json.
        raise unreadable("tokenizer", source, error) from error
    if header is not None:
        check_tokenizer(tokenizer, header)
    return tokenizer


def _has_tokenizer(adapter: Source) -> bool:
    from transformers.utils import cached_file

    options = {k: v for k, v in adapter.options().items() if k in ("revision", "local_files_only")}
    try:
        found = cached_file(
            adapter.name,
            "tokenizer_config.json",
            _raise_exceptions_for_missing_entries=False,
            **options,
        )
    except UNREADABLE as error:
        raise unreadable("adapter", adapter, error) from error
    return found is not None


def gguf_header(source: Source) -> Header | None:
    """The header of the GGUF file that the source names, None for safetensors.

    Raises:
        ModelError: No such file, damaged, or weights of a type that cannot be read.
    """
    if source.file is None:
        return None
    if source.place != source.name or Path(source.place).is_dir():
        return read_header(Path(source.place) / source.file)
    from transformers.utils import cached_file

    options = {k: v for k, v in source.options().items() if k in ("revision", "local_files_only")}
    try:
        found = cached_file(source.place, source.file, **options)
    except UNREADABLE as error:
        raise unreadable("file", source, error) from error
    return read_header(Path(str(found)))


def load_weights(source: Source, placement: Placement) -> Any:
    """The model with its weights where the placement wants them: safetensors, or a GGUF file.

    Raises:
        ModelError: Not found, damaged, weights that do not cover the model, a placement that
            cannot be had, or a package that it needs and that is not installed.
    """
    check_placement(placement)
    config = load_config(source)
    options = source.options() | _placement_options(placement)
    header = gguf_header(source)
    if header is not None:
        _check_gguf_placement(placement, source)
    check_claims(config, source.place if header is None else str(header.path))
    answer: Any
    try:
        answer = model_class(config).from_pretrained(
            source.place,
            **options,
            use_safetensors=source.file is None or None,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are errors too, said by _check_weights
        )
        model, found = answer
        if header is not None:
            model = dequantised(model, header)
        if "device_map" not in options:
            model = model.to(placement.device)
    except UNREADABLE as error:
        raise unreadable("model", source, error) from error
    _check_weights(found, source.name)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise _is_adapter(source.name)
    return model


def check_placement(placement: Placement) -> None:
    """Refuses a placement that no model could have.

    Raises:
        ModelError: An unknown dtype, device map or quantisation, or a package that is missing.
        ConfigError: A device that cannot be used.
    """
    maps = ("auto", "balanced", "balanced_low_0", "sequential")
    choices: dict[str, tuple[Any, tuple[str, ...]]] = {
        "dtype": (placement.dtype, tuple(DTYPES)),
        "quantization": (placement.quantization, ("8bit", "4bit")),
        "device_map": (placement.device_map, maps),
    }
    for key, (value, known) in choices.items():
        if value is not None and not isinstance(value, Mapping) and value not in known:
            raise ModelError(
                f"unknown {key} {value!r}", expected=f"one of {', '.join(known)}", fix="name one"
            )
    if placement.quantization is not None:
        require_package("bitsandbytes", f"quantization: {placement.quantization}")
    if placement.quantization is not None or placement.device_map is not None:
        require_package("accelerate", "device_map")
    places: Mapping[str, Place] = {"": placement.device}
    if placement.device_map is not None:
        places = placement.device_map if isinstance(placement.device_map, Mapping) else {}
    for place in set(places.values()) - {"disk"}:
        check_device(f"cuda:{place}" if isinstance(place, int) else place)


def _check_gguf_placement(placement: Placement, source: Source) -> None:
    require_package("accelerate", f"the GGUF file {source.file}")
    if placement.quantization is not None or placement.device_map is not None:
        raise ModelError(
            f"the GGUF file {source.file} with quantization or device_map",
            expected="a device and a dtype: the weights are dequantised on load",
            fix="remove both keys, or save the dequantised model and name its folder in `model`",
        )


def require_package(package: str, purpose: str) -> None:
    """Raises ModelError when an optional package is not installed.

    Args:
        package: Its import name.
        purpose: What needs it, in the message.
    """
    if find_spec(package) is None:
        raise ModelError(
            f"{purpose} needs the package {package}, which is not installed",
            expected="the optional packages for large and adapted models",
            fix="pip install 'conceptbasis[large]'",
        )


def _placement_options(placement: Placement) -> dict[str, Any]:
    dtype = DTYPES[placement.dtype]
    options: dict[str, Any] = {"dtype": dtype}
    if placement.device_map is not None:
        chosen = placement.device_map
        options["device_map"] = chosen if isinstance(chosen, str) else dict(chosen)
    if placement.quantization is not None:
        from transformers import BitsAndBytesConfig

        options.setdefault("device_map", {"": placement.device})
        options["quantization_config"] = (
            BitsAndBytesConfig(load_in_8bit=True)
            if placement.quantization == "8bit"
            else BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
            )
        )
    if placement.max_memory is not None:
        memory = placement.max_memory.items()
        options["max_memory"] = {int(k) if str(k).isdigit() else k: v for k, v in memory}
    if placement.offload_folder is not None:
        options["offload_folder"] = placement.offload_folder
    return options


def _forbid_adapter_folder(source: Source) -> None:
    folder = Path(source.name)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise _is_adapter(source.name)


def _is_adapter(name: str) -> ModelError:
    return ModelError(
        f"{name} is an adapter, not a model",
        expected="a model in the key `model` and an adapter for it in the key `adapter`",
        fix="name the adapter's base model in `model`, and the adapter in `adapter`",
    )


def _check_weights(found: Mapping[str, Any], name: str) -> None:
    """Refuses weights that leave a part of the model out, which would stay random."""
    missing = sorted(found["missing_keys"])
    unfit = sorted(
        f"{key} has {tuple(has)}, not {tuple(wants)}"
        for key, has, wants in found["mismatched_keys"]
    )
    if missing or unfit:
        raise ModelError(
            f"the weights of {name} do not fit its config.json: "
            + (f"{len(missing)} tensors are missing, e.g. {missing[0]}" if missing else unfit[0]),
            expected="safetensors with every tensor that config.json calls for, in its shape",
            fix="restore the config.json (model_type, sizes, number of layers) or the weights",
        )
