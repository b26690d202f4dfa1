"""A model in which one head alone does a task, and the pairs of that task."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def planted():
    """The answer is written by head 1 of block 1."""
    from planted_head import plant

    return plant(1, 1)
