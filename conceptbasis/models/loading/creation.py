"""New models from a configuration class, and their tokenizers, in the standard folder format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conceptbasis.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def create_model(
    config_class: str, sizes: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast, *, seed: int
) -> PreTrainedModel:
    """A randomly initialised causal language model.

    Args:
        config_class: Name of a configuration class in transformers.
        sizes: Its keyword arguments, without vocabulary and special token ids.
        tokenizer: Gives vocabulary size and special token ids.
        seed: Decides the initial weights; global random state is left as it was.

    Raises:
        ModelError: transformers has no such configuration class.
    """
    import transformers

    found = getattr(transformers, config_class, None)
    if found is None:
        raise ModelError(
            f"transformers {transformers.__version__} has no {config_class}",
            expected="the name of a configuration class such as LlamaConfig",
            fix="correct the family's config_class or update transformers",
        )
    config = found(
        **sizes,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(config)


def wrap_tokenizer(
    backend: Tokenizer, *, special: Mapping[str, str], chat_template: str, max_length: int
) -> PreTrainedTokenizerFast:
    """A fast tokenizer with a chat template around a trained `tokenizers` backend.

    Args:
        backend: The trained tokenizer.
        special: `bos_token`, `eos_token`, `pad_token` and `unk_token`.
        chat_template: A Jinja template.
        max_length: Longest input in tokens.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=chat_template,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        **special,
    )


def save_folder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes model and tokenizer as a standard Hugging Face folder (safetensors)."""
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
