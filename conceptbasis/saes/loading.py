"""Loads sparse autoencoders from folders and releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from conceptbasis.errors import SaeError, reason
from conceptbasis.saes.formats import FILES, converter_for
from conceptbasis.saes.releases import release_converter
from conceptbasis.saes.sae import Sae, SaePlace, import_sae_lens, wrap_sae

_UNREADABLE = (
    OSError,
    LookupError,
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    SafetensorError,
)
"""What sae-lens raises over an SAE that is missing, damaged, or at odds with its own cfg.json."""


def load_sae_folder(
    path: str | Path,
    place: SaePlace,
    *,
    activation_scale: float | None = None,
    device: str = "cpu",
) -> Sae:
    """Loads an SAE from a folder in one of the formats of `conceptbasis.saes.formats`.

    Args:
        path: The folder of one SAE.
        place: Where it is wanted.
        activation_scale: What its inputs were multiplied by in training, folded into it.
        device: A torch device.

    Returns:
        The SAE.

    Raises:
        SaeError: Not a loadable inference SAE, or one for another width, layer or site.
    """
    sae_lens = import_sae_lens()
    if not Path(path).is_dir():
        raise SaeError(
            f"no SAE folder {path}",
            expected="the folder of one SAE, with its configuration and weights",
            fix="check saes.folder and saes.subfolders in the model's file",
        )
    kind, converter = converter_for(Path(path))
    try:
        sae = sae_lens.SAE.load_from_disk(path, device=device, dtype="float32", converter=converter)
    except _UNREADABLE as error:
        raise SaeError(
            f"{path} cannot be loaded: {reason(error)}",
            expected=f"an inference SAE in the format {kind} (not a trainer's checkpoint), whose "
            f"files {' and '.join(FILES[kind])} fit each other",
            fix="restore the files, or save the SAE again with sae-lens's save_inference_model",
        ) from error
    _fold_scale(sae, activation_scale)
    return wrap_sae(sae, place, str(path))


def load_sae_release(
    release: str,
    sae_id: str,
    place: SaePlace,
    *,
    format: str | None = None,
    activation_scale: float | None = None,
    device: str = "cpu",
) -> Sae:
    """Loads an SAE of a release that sae-lens knows, or of a hub repository.

    Args:
        release: A release name or repository id.
        sae_id: The SAE's id within it, or its folder in the repository.
        place: Where it is wanted.
        format: Which of sae-lens's loaders reads a repository that is not in its list.
        activation_scale: What its inputs were multiplied by in training, folded into it.
        device: A torch device.

    Returns:
        The SAE.

    Raises:
        SaeError: Unknown or unreachable, or one for another width, layer or site.
    """
    sae_lens = import_sae_lens()
    name = f"{release}/{sae_id}"
    converter = release_converter(release, format)
    try:
        sae = sae_lens.SAE.from_pretrained(release, sae_id, device=device, converter=converter)
    except _UNREADABLE as error:
        raise SaeError(
            f"{name} cannot be loaded: {reason(error)}",
            expected="a release and id that sae-lens lists, reachable or in the cache",
            fix="check both names; without a network, download it beforehand",
        ) from error
    _fold_scale(sae, activation_scale)
    return wrap_sae(sae, place, name)


def _fold_scale(sae: Any, scale: float | None) -> None:
    """SAE(x·s)/s as an SAE of x, where its inputs were multiplied by s in training."""
    if scale is not None:
        with torch.no_grad():
            sae.fold_activation_norm_scaling_factor(scale)
