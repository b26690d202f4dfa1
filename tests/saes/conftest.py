"""One thread, and the tiny models of the model tests."""

import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "models"):
    sys.path.insert(0, str(folder))
torch.set_num_threads(1)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Serves the folder `tmp_path` to sae-lens's loaders, whatever repository they ask for."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def download(repo_id, filename, subfolder=None, **_):
        place = tmp_path / (subfolder or "") / filename
        if not place.is_file():
            raise EntryNotFoundError(f"{repo_id} has no {filename}")
        return str(place)

    monkeypatch.setattr(loaders, "hf_hub_download", download)
    return tmp_path
