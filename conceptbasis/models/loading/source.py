"""Where a model comes from, and what to do when it cannot be read there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, StrictDataclassError
from safetensors import SafetensorError

from conceptbasis.errors import ModelError, reason

UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises over files that are missing, damaged, or do not fit each other."""
_FILES = {
    "configuration": "config.json",
    "model": "config.json and safetensors weights that fit it",
    "tokenizer": "config.json, tokenizer.json and tokenizer_config.json",
    "adapter": "adapter_config.json and adapter_model.safetensors",
    "file": "that GGUF file",
}


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Args:
        name: A local folder or a hub id.
        revision: A hub branch, tag or commit.
        trust_remote_code: Whether code shipped with the model may run.
        offline: Whether only local files and the hub's cache may be read.
        gguf_file: The GGUF file to read in that folder or repository; `name` may also be the path
            of such a file.
    """

    name: str
    revision: str | None = None
    trust_remote_code: bool = False
    offline: bool = False
    gguf_file: str | None = None

    def options(self) -> dict[str, Any]:
        """Keyword arguments of every `from_pretrained`; the token is that of the environment."""
        options = {
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code,
            "local_files_only": self.offline,
        }
        return options | ({"gguf_file": self.file} if self.file else {})

    @property
    def place(self) -> str:
        """The folder or hub id that holds the model; that of a GGUF file where one is named."""
        return str(Path(self.name).parent) if self._is_file else self.name

    @property
    def file(self) -> str | None:
        """The GGUF file in that place, None for safetensors."""
        return Path(self.name).name if self._is_file else self.gguf_file

    @property
    def _is_file(self) -> bool:
        return self.gguf_file is None and self.name.endswith(".gguf")


def unreadable(kind: str, source: Source, error: Exception) -> ModelError:
    """The error of a model, tokenizer or adapter that cannot be loaded, with what to do.

    Args:
        kind: `model`, `tokenizer`, `adapter`, or `file` for a GGUF file.
        source: What was to be loaded.
        error: What the library raised.
    """
    what = f"no {kind} could be loaded from {source.name}: {reason(error)}"
    causes = list(_chain(error))
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return ModelError(
            what,
            expected="a token of an account that was granted access to this gated repository",
            fix=f"accept the terms on the page of {source.name}, then set HF_TOKEN",
        )
    if "trust_remote_code" in str(error):
        return ModelError(
            what,
            expected="a model whose code is part of transformers",
            fix="read the code that comes with the model; if it may run, set "
            "trust_remote_code: true and name the commit in `revision`",
        )
    if any(isinstance(cause, torch.OutOfMemoryError) for cause in causes):
        return ModelError(
            what,
            expected="a device with room for the weights",
            fix="use dtype: bfloat16, device_map: auto, or quantization: 8bit",
        )
    if kind == "adapter" and "size mismatch" in str(error):
        return ModelError(
            what,
            expected="an adapter of this model: weights of the same shapes",
            fix="name the adapter's base model in `model`; if tokens were added to it, load it, "
            "call resize_token_embeddings with the number of rows that the adapter has, save it, "
            "and name that folder",
        )
    offline = source.offline or os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    missing = any(isinstance(cause, LocalEntryNotFoundError) for cause in causes)
    return ModelError(
        what,
        expected=f"a folder or hub id with {_FILES[kind]}",
        fix="go online once (offline: false, HF_HUB_OFFLINE unset) so that it can be downloaded"
        if offline and missing
        else "check the path or id and replace files that are missing or damaged; without a "
        "network, download the model beforehand",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
