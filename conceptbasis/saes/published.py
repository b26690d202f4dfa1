"""SAEs of one model from a folder or a release, one for every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from conceptbasis.config.model import ModelConfig
from conceptbasis.errors import ConfigError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.saes.loading import load_sae_folder, load_sae_release
from conceptbasis.saes.sae import Sae, SaePlace
from conceptbasis.saes.training import layer_folder


def load_folder(
    folder: Path, config: ModelConfig, loaded: LoadedModel, layers: Sequence[int]
) -> dict[int, Sae]:
    """The SAEs of a folder with one sub-folder per layer, each checked against the model."""
    named = config.saes.subfolders
    if named is not None:
        _require_layers(config, "saes.subfolders", named, layers)
    return {
        layer: load_sae_folder(
            folder / (layer_folder(layer) if named is None else named[layer]),
            _place(config, loaded, layer),
            activation_scale=config.saes.activation_scale,
            device=str(loaded.device),
        )
        for layer in layers
    }


def _place(config: ModelConfig, loaded: LoadedModel, layer: int) -> SaePlace:
    return SaePlace(loaded.architecture.d_model, layer, config.site, config.model)


def _require_layers(
    config: ModelConfig, key: str, named: Mapping[int, str], layers: Sequence[int]
) -> None:
    missing = [layer for layer in layers if layer not in named]
    if missing:
        raise ConfigError(
            f"{config.name}: {key} names no SAE for layers {missing}",
            expected="one entry per layer of `layers`",
            fix="add them, or list under `layers` only those that have one",
        )


def load_published(
    config: ModelConfig, loaded: LoadedModel, layers: Sequence[int]
) -> dict[int, Sae]:
    """The SAEs of the folder or release that a configuration names, checked against the model.

    Raises:
        SaeError: one cannot be loaded or does not fit.
        ConfigError: a layer has none.
    """
    source = config.saes
    if source.folder is not None:
        return load_folder(Path(source.folder).expanduser(), config, loaded, layers)
    assert source.release is not None
    _require_layers(config, "saes.release.sae_ids", source.release.sae_ids, layers)
    return {
        layer: load_sae_release(
            source.release.release,
            source.release.sae_ids[layer],
            _place(config, loaded, layer),
            format=source.release.format,
            activation_scale=source.activation_scale,
            device=str(loaded.device),
        )
        for layer in layers
    }
