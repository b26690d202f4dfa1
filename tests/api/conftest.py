"""A working folder as a user has one: a finished run, model files and settings."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import yaml


@pytest.fixture
def desk(finished, ready, sides, tmp_path, monkeypatch):
    """The current folder of a test, with a copy of the finished run; `model` is its target."""
    shutil.copytree(finished.folder, tmp_path / "runs/demo")
    settings = ready.config(curve={"measure": True}).model_dump(mode="json")
    files = {
        "sae_configs/donor.yaml": ready.donor_config().model_dump(mode="json"),
        "sae_configs/target.yaml": ready.target_config().model_dump(mode="json"),
        "settings.yaml": settings,
    }
    for name, values in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(
        folder=tmp_path / "runs/demo",
        model=sides.target.loaded.model,
        donor=sides.donor.loaded.model,
        tokenizer=sides.target.loaded.tokenizer,
    )
