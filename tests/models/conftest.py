"""One tiny model per architecture for the whole session, on one thread."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)

from tiny import PROMPTS, encode_prompts, make_loaded  # noqa: E402

from conceptbasis.models.architecture.table import ARCHITECTURES  # noqa: E402


@pytest.fixture(scope="session")
def models():
    return {model_type: make_loaded(model_type) for model_type in ARCHITECTURES}


@pytest.fixture(scope="session")
def batch(models):
    """Left-padded prompts of unequal length; the tokenizer is the same for all models."""
    return encode_prompts(models["llama"].tokenizer, PROMPTS)


@pytest.fixture
def llama(models):
    return models["llama"]


@pytest.fixture
def mixtral(models):
    return models["mixtral"]
