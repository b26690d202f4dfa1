"""Random streams by name: every draw of a run has a stream of its own, and no two collide."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator


def seed_of(run_seed: int, *name: str | int) -> int:
    """A 63-bit seed from the run's seed and the name of a stream, such as ("match", 3, 4)."""
    text = "\x1f".join([str(run_seed), *(f"{type(part).__name__}:{part}" for part in name)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(run_seed: int, *name: str | int) -> Generator:
    """A torch generator of the stream of that name."""
    import torch

    return torch.Generator().manual_seed(seed_of(run_seed, *name))
