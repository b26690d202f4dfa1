"""Configuration of one model and its SAEs: `sae_configs/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from conceptbasis.config.base import SINK_RATIO, Section, load_yaml, parse_config
from conceptbasis.config.budgets import BudgetName, TextClassName


class SaeTraining(Section):
    """How SAEs are trained when none are given."""

    architecture: Literal["batchtopk", "topk"] = "batchtopk"
    d_sae: int = Field(default=768, ge=2)
    k: int = Field(default=16, ge=1)
    n_steps: int = Field(default=600, ge=1)
    batch_size: int = Field(default=1024, ge=8)
    lr: float = Field(default=1e-3, gt=0)
    seed: int = 0
    budget: BudgetName = "B0d"
    n_texts: int = Field(default=6000, ge=20)
    without: tuple[TextClassName, ...] = ()


class SaeRelease(Section):
    """SAEs of a sae-lens release: `sae_ids` maps each layer to its id in the release."""

    release: str
    sae_ids: dict[int, str]
    format: str | None = None


class SaeSource(Section):
    """Where the SAEs come from: exactly one of `train`, `release` and `folder`."""

    train: SaeTraining | None = None
    release: SaeRelease | None = None
    folder: str | None = None
    subfolders: dict[int, str] | None = None
    activation_scale: float | None = Field(default=None, gt=0)
    max_norm_ratio: float = Field(default=SINK_RATIO, gt=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> SaeSource:
        given = [n for n in ("train", "release", "folder") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of train, release, folder; got {given or 'none'}")
        if self.subfolders is not None and self.folder is None:
            raise ValueError("subfolders names folders below `folder`, which is missing")
        if self.activation_scale is not None and self.train is not None:
            raise ValueError("activation_scale is for SAEs that are not trained here")
        return self


class ChatSection(Section):
    """What is set in a model's chat template (docs/configuration.md, "Chat")."""

    system: str | None = None
    system_as: Literal["system", "user"] = "system"
    thinking: bool | None = None
    variables: dict[str, str | bool | int | float | None] = Field(default={})
    template: str | None = None


class ModelConfig(Section):
    """One model with its SAEs.

    `model` is a hub id, a local folder, a GGUF file, or `organism:FAMILY:SEED` for a built-in
    organism or a tuned real model.
    """

    name: str
    model: str
    gguf_file: str | None = None
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: Literal["8bit", "4bit"] | None = None
    device_map: str | dict[str, int | str] | None = None
    max_memory: dict[int | str, str] | None = None
    offload_folder: str | None = None
    offline: bool = False
    chat: ChatSection = ChatSection()
    architecture: dict[str, str | None] | None = None
    site: Literal["resid_post"] = "resid_post"
    layers: Literal["all"] | tuple[int, ...] = "all"
    trust_remote_code: bool = False
    saes: SaeSource = SaeSource(train=SaeTraining())


def load_model_config(path: Path) -> ModelConfig:
    """Reads one `sae_configs/NAME.yaml`."""
    return parse_config(ModelConfig, {"name": path.stem} | load_yaml(path), str(path))


ModelLike: TypeAlias = ModelConfig | Mapping[str, object] | str | PathLike[str]
"""A model: a YAML file of `sae_configs/`, its keys, a hub id or folder, or the parsed form."""


def as_model_config(model: ModelLike) -> ModelConfig:
    """The configuration of a model, from any of its forms.

    Args:
        model: A YAML file, its keys, or a hub id, folder, GGUF file or organism with the default
            settings, named by the last part of its name.

    Raises:
        ConfigError: if a file is missing, or a key or value does not fit.
    """
    if isinstance(model, ModelConfig):
        return model
    if not isinstance(model, Mapping):
        text = fspath(model)
        if text.endswith((".yaml", ".yml")):
            return load_model_config(Path(text))
        model = {"model": text}
    named = str(model.get("model", "model")).rstrip("/").rpartition("/")[2].replace(":", "-")
    return parse_config(ModelConfig, {"name": named, **model}, "model")
