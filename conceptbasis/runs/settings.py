"""The settings of a run, as its folder holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from conceptbasis.config.base import load_yaml, parse_config
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.runs.files import CONFIG, corrupt


def read_settings(
    folder: Path, side: Literal["donor", "target"] = "target"
) -> tuple[ModelConfig, RunConfig]:
    """A model and the settings of a run, as its `config.yaml` holds them.

    Args:
        folder: The run folder.
        side: Which model.

    Raises:
        ArtifactError: if the file lacks either.
    """
    path = folder / CONFIG
    values = load_yaml(path)
    for key in (side, "run"):
        if not isinstance(values.get(key), dict):
            raise corrupt(path, f"it holds no settings under `{key}`")
    model = parse_config(ModelConfig, values[side], str(path))
    return model, parse_config(RunConfig, values["run"], str(path))
