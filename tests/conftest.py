"""Shapes are checked in tests only: jaxtyping instruments the package before it is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook("conceptbasis.core", "beartype.beartype")

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder of this test run that all of its workers share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def world(shared_folder):
    """Two micro organisms with unlike tokenizers, a small suite, and a cache for their SAEs."""
    import torch
    from micro import make_world

    torch.set_num_threads(1)
    return make_world(shared_folder)
