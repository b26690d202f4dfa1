"""A model's configuration may not claim more than its files hold: memory is taken by what it says.

transformers makes room for every weight that a configuration speaks of, also for those that no
file has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conceptbasis.errors import ModelError

_NUMBERS_A_BYTE = 4
"""Packed weights hold at most about four numbers in a byte."""
_SPARE = 2**24
"""Numbers that are too few to hurt, so that a small or broken folder gets its own error."""


def check_claims(config: Any, place: str) -> None:
    """Refuses a folder or file whose configuration speaks of far more weights than are there.

    Args:
        config: As transformers reads it.
        place: A folder, a file, or a hub id, which is left alone.

    Raises:
        ModelError: with the size that is claimed.
    """
    path = Path(place)
    if not path.exists():
        return
    files = [path] if path.is_file() else [*path.glob("*.safetensors"), *path.glob("*.gguf")]
    held = sum(file.stat().st_size for file in files) * _NUMBERS_A_BYTE + _SPARE
    text = config.get_text_config()
    sizes = {name: _size(text, name) for name in ("vocab_size", "intermediate_size")}
    width, layers = _size(text, "hidden_size"), _size(text, "num_hidden_layers")
    claims = {
        f"hidden_size {width:,}": width,
        f"vocab_size {sizes['vocab_size']:,}": sizes["vocab_size"] * width,
        f"num_hidden_layers {layers:,}": layers * width,
        f"intermediate_size {sizes['intermediate_size']:,}": sizes["intermediate_size"] * width,
    }
    for what, numbers in claims.items():
        if numbers > held:
            raise ModelError(
                f"the configuration of {place} says {what}, more than its files can hold",
                expected="a configuration that fits the weights beside it",
                fix="fetch the model again from its publisher; config.json may be of another one",
            )


def _size(config: Any, name: str) -> int:
    """A size as it is configured, the largest where it differs from block to block."""
    value = getattr(config, name, None)
    values = value if isinstance(value, (list, tuple)) else [value]
    return max((v for v in values if isinstance(v, int)), default=0)
