"""Loads a model with its tokenizer and proves that the adapter fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from conceptbasis.errors import ModelError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.proof import prove_sites, prove_writers
from conceptbasis.models.architecture.table import parse_row
from conceptbasis.models.loading.adapters import merge_adapter
from conceptbasis.models.loading.fetching import (
    Placement,
    check_placement,
    gguf_header,
    load_tokenizer,
    load_weights,
)
from conceptbasis.models.loading.head import read_whole_rows
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.loading.placement import execution_device
from conceptbasis.models.loading.source import Source
from conceptbasis.models.text.template import ChatOptions, apply_chat_options, set_template
from conceptbasis.models.text.vocabulary import limit_ids
from conceptbasis.runs.files import file_hash


def load_model(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    offline: bool = False,
    placement: Placement | None = None,
    adapter: str | None = None,
    adapter_revision: str | None = None,
    chat: ChatOptions | None = None,
    architecture: Mapping[str, Any] | None = None,
    gguf_file: str | None = None,
) -> LoadedModel:
    """Loads a model from a local folder or the hub: safetensors, or a GGUF file, dequantised.

    A gated model is loaded with the token of the environment (HF_TOKEN, or that of `hf auth`).

    Args:
        path_or_id: A local folder, a hub id, or the path of a GGUF file.
        revision: A hub branch, tag or commit.
        dtype: One of float32, float64, bfloat16, float16.
        device: A torch device.
        trust_remote_code: Whether code shipped with the model may run.
        offline: Whether only local files and the hub's cache may be read.
        placement: Device map, offloading and quantisation; stands over `dtype` and `device`.
        adapter: A PEFT adapter, merged into the model.
        adapter_revision: Its hub branch, tag or commit.
        chat: System prompt, thinking and variables of the chat template.
        architecture: A row of the architecture table of the user's own (`parse_row`).
        gguf_file: The GGUF file to read in that folder or repository.

    Returns:
        The model, ready to be hooked.

    Raises:
        ModelError: Not found, damaged, gated, unknown dtype or architecture, weights that do not
            cover the model, no tokenizer, no chat template, a tokenizer that gives no character
            offsets, or an optional package that is missing.
        PromptError: The chat template does not take the chat options.
    """
    source = Source(str(path_or_id), revision, trust_remote_code, offline, gguf_file)
    placement = placement or Placement(dtype, device)
    check_placement(placement)
    merged = None
    if adapter is not None:
        merged = replace(source, name=adapter, revision=adapter_revision, gguf_file=None)
    tokenizer = load_tokenizer(source, merged)
    model = load_weights(source, placement)
    name = source.name
    if merged is not None:
        model = merge_adapter(model, merged)
        name = f"{name} with {adapter}"
    loaded = wrap_model(model, tokenizer, name=name, chat=chat, architecture=architecture)
    header = gguf_header(source)
    return loaded if header is None else replace(loaded, file_hash=file_hash(header.path))


def wrap_model(
    model: Any,
    tokenizer: Any,
    *,
    name: str,
    chat: ChatOptions | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Makes a `LoadedModel` of a model and a tokenizer that are already in memory.

    Args:
        model: A transformers causal language model; set to evaluation mode, without gradients.
        tokenizer: Its tokenizer; its chat template is changed where `chat` says so.
        name: How to call it in messages and artifacts.
        chat: System prompt, thinking and variables of the chat template.
        architecture: A row of the architecture table of the user's own.

    Returns:
        The model, ready to be hooked.

    Raises:
        ModelError: Unknown architecture, no chat template, no character offsets, or a row that
            does not describe what the model computes.
        PromptError: The chat template does not take the chat options.
    """
    chat = chat or ChatOptions()
    set_template(tokenizer, chat)
    _check_tokenizer(tokenizer, name)
    apply_chat_options(tokenizer, chat)
    model.eval().requires_grad_(False)
    bound = resolve(model, parse_row(architecture) if architecture is not None else None)
    limit_ids(tokenizer, bound.d_vocab, name)
    _choose_expert_kernel(model, execution_device(bound.embed))
    read_whole_rows(model)
    loaded = LoadedModel(model, tokenizer, bound, name)
    prove_sites(loaded)
    if architecture is not None:
        prove_writers(loaded)  # rows of the table are proved by the tests
    return loaded


def _choose_expert_kernel(model: Any, device: torch.device) -> None:
    """Loops over experts on the CPU: the grouped kernel rejects float64 there and is slower."""
    if device.type == "cpu" and model._can_set_experts_implementation():
        model.set_experts_implementation("eager")


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
            fix="use the instruction-tuned model, or give a template in chat.template",
        )


def silence_transformers() -> None:
    """Turns off the progress bars and notes of transformers, which would break ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
