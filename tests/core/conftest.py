"""One thread, and a fresh generator per test."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def spaces(generator):
    """Two spaces of 500 sites, of 6 and 9 dimensions, that share three."""
    shared = torch.randn(500, 3, generator=generator)
    sides = []
    for d in (6, 9):
        mixed = shared @ torch.randn(3, d, generator=generator)
        sides.append(mixed + 0.7 * torch.randn(500, d, generator=generator))
    return sides
