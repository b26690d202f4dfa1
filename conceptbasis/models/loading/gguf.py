"""GGUF files: read, checked, and dequantised into a plain model of the same configuration.

transformers leaves such a model marked as quantised though every weight is a float; it then
refuses `.half()` and `save_pretrained`. So the weights move into a fresh model.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import torch

from conceptbasis.errors import ModelError, reason

_GEMMA3_27B_LAYERS = 62
_WIDTHS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_UNREADABLE = (
    *(struct.error, ValueError, KeyError, TypeError),
    *(MemoryError, ArithmeticError, RecursionError),
)
"""What a header of nonsense raises: sizes, types, arrays in arrays, an alignment of 0."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: name, number of elements, storage type, and where its bytes start."""

    name: str
    n_elements: int
    storage: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself before its weights."""

    path: Path
    fields: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    data_start: int

    @property
    def tokens(self) -> list[str]:
        """The vocabulary, by id."""
        return list(self.fields.get("tokenizer.ggml.tokens", ()))

    def token_id(self, name: str) -> int | None:
        """A special token's id (`bos`, `eos`, `padding`, `unknown`), None where none is given."""
        return self.fields.get(f"tokenizer.ggml.{name}_token_id")


def read_header(path: Path) -> Header:
    """Reads and checks a file's header; every tensor must lie inside the file.

    Raises:
        ModelError: No such file, no GGUF, cut short, or weights of a type that cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(
            f"there is no GGUF file {path}",
            expected="a file with the ending .gguf",
            fix="correct the key `model` (and `gguf_file`, if it names a file of a repository)",
        ) from error
    return _read(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, size: int, changed: int) -> Header:
    with path.open("rb") as handle:
        magic = handle.read(4)
        if magic != b"GGUF":
            raise _damaged(path, "it does not begin with the letters GGUF")
        handle.seek(0)
        try:
            header = _Reader(handle.read).header(path)
        except _UNREADABLE as error:
            raise _damaged(path, f"its header cannot be read ({reason(error)})") from error
    _check_tensors(header, size)
    return header


class _Reader:
    """Takes values from the front of a GGUF file (little endian, versions 2 and 3)."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read, self.position = read, 0

    def header(self, path: Path) -> Header:
        self.take("4s")
        version, n_tensors, n_fields = self.take("I"), self.take("Q"), self.take("Q")
        if version not in (2, 3):
            raise ValueError(f"version {version}, not 2 or 3")
        fields = {self.string(): self.value(self.take("I")) for _ in range(n_fields)}
        tensors = []
        for _ in range(n_tensors):
            name = self.string()
            shape = [self.take("Q") for _ in range(self.take("I"))]
            tensors.append(Tensor(name, prod(shape), self.take("I"), self.take("Q")))
        alignment = int(fields.get("general.alignment", 32))
        start = -(-self.position // alignment) * alignment
        return Header(path, fields, tuple(tensors), start)

    def bytes(self, count: int) -> bytes:
        data = self.read(count) if count < 2**31 else b""
        if len(data) != count:
            raise ValueError("the file ends inside it")
        self.position += count
        return data

    def take(self, form: str) -> Any:
        form = "<" + form
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def string(self) -> str:
        return self.bytes(self.take("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.take(_WIDTHS[kind])
        inner, count = self.take("I"), self.take("Q")
        if inner in (_STRING, _ARRAY):
            return [self.value(inner) for _ in range(count)]
        form = f"<{count}{_WIDTHS[inner]}"
        return list(struct.unpack(form, self.bytes(struct.calcsize(form))))


def _check_tensors(header: Header, size: int) -> None:
    import gguf
    from gguf.quants import _type_traits as readable

    plain = {gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16")}
    for tensor in header.tensors:
        try:
            storage = gguf.GGMLQuantizationType(tensor.storage)
        except ValueError:
            storage = None
        if storage is None or not (storage in plain or storage in readable):
            name = storage.name if storage is not None else f"type {tensor.storage}"
            raise ModelError(
                f"{header.path}: {tensor.name} is stored as {name}, which cannot be read",
                expected="F32, F16, BF16, or a quantisation such as Q4_K, Q5_0, Q8_0",
                fix="take a file of another quantisation of the same model",
            )
        elements, width = gguf.GGML_QUANT_SIZES[storage]
        if header.data_start + tensor.offset + tensor.n_elements // elements * width > size:
            raise _damaged(header.path, f"it ends before or inside {tensor.name}")


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path} is no complete GGUF file: {why}",
        expected="a whole file in GGUF, version 2 or 3",
        fix="fetch the file again and compare its SHA-256 with that of its source",
    )


def dequantised(model: Any, header: Header) -> Any:
    """The same weights in a fresh model of the same configuration, which nothing calls quantised.

    Args:
        model: As transformers loads it from a GGUF file, every weight a float.
        header: Of the file; what transformers leaves out of the configuration is taken from it.

    Returns:
        A model that `.half()`, `save_pretrained` and edits of weights take as any other. Weights
        are moved, not copied, so the model given must not be used afterwards.

    Raises:
        ModelError: The file rescales rotary positions in a way that cannot be carried over.
    """
    config = type(model.config).from_dict(
        {k: v for k, v in model.config.to_dict().items() if k != "quantization_config"}
    )
    config._name_or_path = str(header.path)
    _complete(config, header)
    dtype = model.dtype
    with torch.random.fork_rng(devices=[]):
        fresh = type(model)._from_config(config, dtype=dtype)
    fresh.load_state_dict(model.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = model.generation_config
    return fresh.eval()


def _complete(config: Any, header: Header) -> None:
    """Sets what transformers leaves out: Gemma 3's attention scale, and rescaled positions.

    Source: llama.cpp, whose files say neither for Gemma 3 (its 27B alone differs, by width a head).
    """
    if config.model_type == "gemma3_text":
        largest = config.num_hidden_layers == _GEMMA3_27B_LAYERS
        width = config.hidden_size // config.num_attention_heads
        config.query_pre_attn_scalar = width if largest else config.head_dim
    architecture = header.fields.get("general.architecture")
    kind = header.fields.get(f"{architecture}.rope.scaling.type", "none")
    if any(tensor.name.startswith("rope_freqs") for tensor in header.tensors):
        kind = "rope_freqs"
    rope = config.rope_parameters or {}
    rope = rope.get("full_attention", rope)
    if kind == "none" or rope.get("rope_type", "default") != "default":
        return
    if kind != "linear":
        raise ModelError(
            f"{header.path.name} rescales rotary positions ({kind}), which transformers leaves out",
            expected="a file with plain or linearly scaled rotary positions",
            fix="load the model's safetensors; with this file it would compute something else",
        )
    factor = header.fields[f"{architecture}.rope.scaling.factor"]
    rope.update(rope_type="linear", factor=float(factor))
