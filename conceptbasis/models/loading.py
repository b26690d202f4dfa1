"""Loads a model with its tokenizer and proves that the adapter fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from conceptbasis.errors import ModelError, reason
from conceptbasis.models.architecture import Architecture, resolve

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises over files that are missing, damaged, or do not fit each other."""
_FILES = {
    "model": "config.json and safetensors weights that fit it",
    "tokenizer": "config.json, tokenizer.json and tokenizer_config.json",
}


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in evaluation mode, its tokenizer and its bound architecture.

    Args:
        model: The transformers model; no parameter requires a gradient.
        tokenizer: A fast tokenizer with a chat template.
        architecture: The table row bound to the model.
        name: The hub id or folder it was loaded from.
    """

    model: Any
    tokenizer: Any
    architecture: Architecture
    name: str

    @property
    def device(self) -> torch.device:
        """Where the embedding lives, so where token ids must go."""
        return next(self.architecture.embed.parameters()).device

    @property
    def max_length(self) -> int | None:
        """The longest sequence the model was made for, or None when it does not say."""
        return getattr(self.model.config, "max_position_embeddings", None)


def load_model(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Loads a model from a local folder or the hub, safetensors only.

    Args:
        path_or_id: A local folder or a hub id.
        revision: A hub branch, tag or commit.
        dtype: One of float32, float64, bfloat16, float16.
        device: A torch device.
        trust_remote_code: Whether code shipped with the model may run.

    Returns:
        The model, ready to be hooked.

    Raises:
        ModelError: Not found, damaged, unknown dtype or architecture, weights that do not cover
            the model, no tokenizer, no chat template, or a tokenizer that gives no character
            offsets.
    """
    name = str(path_or_id)
    if dtype not in _DTYPES:
        raise ModelError(
            f"unknown dtype {dtype!r}", expected=f"one of {', '.join(_DTYPES)}", fix="name one"
        )
    from transformers import AutoModelForCausalLM

    tokenizer = _load_tokenizer(name, revision, trust_remote_code)
    answer: Any
    try:
        answer = AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            dtype=_DTYPES[dtype],
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are errors too, said by _check_weights
        )
    except _UNREADABLE as error:
        raise _unreadable("model", name, error) from error
    model, found = answer
    _check_weights(found, name)
    return wrap_model(model.to(device), tokenizer, name=name)


def wrap_model(model: Any, tokenizer: Any, *, name: str) -> LoadedModel:
    """Makes a `LoadedModel` of a model and a tokenizer that are already in memory.

    Args:
        model: A transformers causal language model; set to evaluation mode, without gradients.
        tokenizer: Its tokenizer.
        name: How to call it in messages and artifacts.

    Returns:
        The model, ready to be hooked.

    Raises:
        ModelError: Unknown architecture, no chat template, or no character offsets.
    """
    _check_tokenizer(tokenizer, name)
    model.eval().requires_grad_(False)
    architecture = resolve(model)
    if len(tokenizer) > architecture.d_vocab:
        raise ModelError(
            f"the tokenizer of {name} knows {len(tokenizer)} tokens",
            expected=f"at most the model's {architecture.d_vocab} embedding rows",
            fix="load the tokenizer that belongs to the model",
        )
    _choose_expert_kernel(model)
    return LoadedModel(model, tokenizer, architecture, name)


def _choose_expert_kernel(model: Any) -> None:
    """Loops over experts on the CPU: the grouped kernel rejects float64 there and is slower."""
    if next(model.parameters()).device.type == "cpu" and model._can_set_experts_implementation():
        model.set_experts_implementation("eager")


def _load_tokenizer(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            name, revision=revision, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        # The tokenizers library raises plain Exception over a damaged tokenizer.json.
        raise _unreadable("tokenizer", name, error) from error


def _unreadable(kind: str, name: str, error: Exception) -> ModelError:
    return ModelError(
        f"no {kind} could be loaded from {name}: {reason(error)}",
        expected=f"a folder or hub id with {_FILES[kind]}",
        fix="check the path or id and replace files that are missing or damaged; without a "
        "network, download the model beforehand",
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


def _check_tokenizer(tokenizer: Any, name: str) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"the tokenizer of {name} is {type(tokenizer).__name__}, which gives no offsets",
            expected="a fast tokenizer (tokenizer.json)",
            fix="convert the tokenizer to the fast format and save it with the model",
        )
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"the tokenizer of {name} has no chat template",
            expected="a chat template (chat_template.jinja, or in tokenizer_config.json)",
            fix="use the instruction-tuned model, or save a template with its tokenizer",
        )


def silence_transformers() -> None:
    """Turns off the progress bars and notes of transformers, which would break ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
