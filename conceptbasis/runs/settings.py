"""The settings of a run, as its folder holds them."""

from __future__ import annotations

from pathlib import Path

from conceptbasis.config.base import load_yaml, parse_config
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.runs.files import CONFIG, corrupt


def read_settings(folder: Path) -> tuple[ModelConfig, RunConfig]:
    """The target and the settings of a run, as its `config.yaml` holds them.

    Raises:
        ArtifactError: if the file lacks either.
    """
    path = folder / CONFIG
    values = load_yaml(path)
    for key in ("target", "run"):
        if not isinstance(values.get(key), dict):
            raise corrupt(path, f"it holds no settings under `{key}`")
    target = parse_config(ModelConfig, values["target"], str(path))
    return target, parse_config(RunConfig, values["run"], str(path))
