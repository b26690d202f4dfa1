"""Reads SAEs from folders in the formats that are published, and names the format of each.

sae-lens converts where it has a loader for folders; the other formats are read here by what their
own code computes. Weights are safetensors, npz arrays, or PyTorch files opened without pickled
objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptbasis.errors import SaeError

Components = tuple[dict[str, Any], dict[str, Tensor]]
"""A sae-lens configuration (of before version 6, which is the form it converts) and weights."""
Converter = Callable[..., Any]
"""A loader as sae-lens calls it, of a folder or of a repository."""

FILES = {
    "sae-lens": ("cfg.json", "sae_weights.safetensors"),
    "sparsify": ("cfg.json", "sae.safetensors"),
    "gemma scope": ("params.npz",),
    "gemma scope 2": ("params.safetensors",),
    "dictionary_learning": ("config.json", "ae.pt"),
}
"""The files that a folder of each format holds."""
_LAYER = re.compile(r"layers?[._-]?(\d+)")
_DICTIONARIES = {
    "AutoEncoder": "standard",
    "AutoEncoderNew": "standard",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
}
"""Classes of dictionary_learning; with a fixed threshold BatchTopK is a JumpReLU."""


def converter_for(folder: Path) -> tuple[str, Converter]:
    """The format of a folder and what reads it into sae-lens's form.

    Args:
        folder: The folder of one SAE.

    Raises:
        SaeError: It holds the files of no known format.
    """
    from sae_lens.loading.pretrained_sae_loaders import sae_lens_disk_loader

    readers: Mapping[str, Converter] = {
        "sae-lens": sae_lens_disk_loader,
        "sparsify": read_sparsify,
        "gemma scope": read_gemma_scope,
        "gemma scope 2": read_gemma_scope,
        "dictionary_learning": read_dictionary_learning,
    }
    for name, files in FILES.items():
        if all((folder / file).is_file() for file in files):
            return name, readers[name]
    listed = "; ".join(f"{name}: {' and '.join(files)}" for name, files in FILES.items())
    found = sorted(path.name for path in folder.iterdir())[:8]
    raise SaeError(
        f"{folder} holds an SAE of no known format: {', '.join(found) or 'it is empty'}",
        expected=f"the files of one format ({listed})",
        fix="name the folder of one SAE with its files, or convert the SAE with sae-lens's "
        "save_inference_model; a trainer's checkpoint is none",
    )


def release_converter(release: str, format: str | None) -> Converter | None:
    """What reads a release, None for what sae-lens chooses itself.

    Args:
        release: A release name or repository id.
        format: A loader of sae-lens for a repository that its list does not hold.

    Raises:
        SaeError: No loader of that name.
    """
    from sae_lens.loading import pretrained_sae_loaders as loaders

    known = loaders.NAMED_PRETRAINED_SAE_LOADERS
    if format is not None and format not in known:
        raise SaeError(
            f"saes.release.format is {format!r}",
            expected=f"a loader of sae-lens: {', '.join(sorted(known))}",
            fix="correct it, or leave it out where the release is in sae-lens's list",
        )
    name = format or loaders.get_conversion_loader_name(release)
    if name == "sparsify":
        return _download_sparsify
    return known[name] if format is not None else None


def _download_sparsify(
    repo_id: str,
    folder_name: str,
    device: str = "cpu",
    force_download: bool = False,
    cfg_overrides: Any = None,
) -> tuple[dict[str, Any], dict[str, Tensor], None]:
    """Fetches both files of a hook point and reads them with `read_sparsify`."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    for file in FILES["sparsify"]:
        place = loaders.hf_hub_download(
            repo_id, filename=f"{folder_name}/{file}", force_download=force_download
        )
    return *read_sparsify(Path(place).parent, device, cfg_overrides), None


def read_sparsify(path: str | Path, device: str = "cpu", cfg_overrides: Any = None) -> Components:
    """EleutherAI sparsify: TopK after the decoder bias is taken off.

    sae-lens's own loader transposes `W_dec`, which is stored as (features, width), and leaves the
    bias in the input where decoder rows are normalised; both are set right here.

    Args:
        path: The folder of one hook point, such as `layers.5`.
        device: A torch device.
        cfg_overrides: Entries of the configuration that stand over those of the folder.

    Raises:
        SaeError: A transcoder, a skip connection, or an activation other than TopK.
    """
    from sae_lens.loading.pretrained_sae_loaders import sparsify_disk_loader

    settings = json.loads((Path(path) / "cfg.json").read_text(encoding="utf-8"))
    odd = [key for key in ("transcode", "skip_connection", "signed") if settings.get(key)]
    odd += [f"activation {a}" for a in (settings.get("activation", "topk"),) if a != "topk"]
    if odd:
        raise SaeError(
            f"{path} is a sparse coder with {', '.join(odd)}",
            expected="an autoencoder with TopK activation",
            fix="use another SAE: this one does not rebuild its own input from a sum of features",
        )
    config, weights = sparsify_disk_loader(
        path, device, {"apply_b_dec_to_input": True, **(cfg_overrides or {})}
    )
    if weights["W_dec"].shape != weights["W_enc"].T.shape:
        weights["W_dec"] = weights["W_dec"].T.contiguous()
    return config, weights


def read_gemma_scope(
    path: str | Path, device: str = "cpu", cfg_overrides: Any = None
) -> Components:
    """Gemma Scope (npz) and Gemma Scope 2 (safetensors): JumpReLU on the raw input.

    Args:
        path: The folder, which names neither width nor model; the layer is read from its path.
        device: A torch device.
        cfg_overrides: Entries of the configuration that stand over those of the folder.
    """
    import numpy as np
    from safetensors.torch import load_file

    path = Path(path)
    if (path / "params.npz").is_file():
        with np.load(path / "params.npz") as stored:
            named = {key: torch.from_numpy(stored[key]) for key in stored.files}
    else:
        named = load_file(path / "params.safetensors")
    # The first release writes W_enc and W_dec, the second w_enc and w_dec.
    named = {re.sub("^w_", "W_", key): value for key, value in named.items()}
    _require(path, named, ("W_enc", "W_dec", "b_enc", "b_dec", "threshold"))
    wanted = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    config = _settings(
        "jumprelu", named["W_enc"].shape, _layer_of(path), apply_b_dec_to_input=False
    )
    weights = {key: named[key].to(device, torch.float32) for key in wanted}
    return config | (cfg_overrides or {}), weights


def read_dictionary_learning(
    path: str | Path, device: str = "cpu", cfg_overrides: Any = None
) -> Components:
    """dictionary_learning: its standard, TopK, BatchTopK, Matryoshka, gated and JumpReLU classes.

    Args:
        path: The folder of one trainer, with config.json and ae.pt.
        device: A torch device.
        cfg_overrides: Entries of the configuration that stand over those of the folder.

    Raises:
        SaeError: A class that is not known, or weights that are missing.
    """
    path = Path(path)
    settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    trainer, buffer = settings["trainer"], settings.get("buffer") or {}
    kind = trainer["dict_class"]
    if kind not in _DICTIONARIES:
        raise SaeError(
            f"{path} is a {kind} of dictionary_learning",
            expected=f"one of {', '.join(_DICTIONARIES)}",
            fix="convert it to sae-lens's format, or use another SAE",
        )
    stored = torch.load(path / "ae.pt", map_location="cpu", weights_only=True)
    weights = _named(stored)
    needed = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}
    architecture = _DICTIONARIES[kind]
    _require(path, weights, ("W_enc", "W_dec", "b_dec", *needed.get(architecture, ("b_enc",))))
    if architecture != "jumprelu":
        weights.pop("threshold", None)  # TopK keeps one that its own encoder does not use
    elif weights["threshold"].ndim == 0:
        weights["threshold"] = weights["threshold"].expand(weights["b_enc"].shape).clone()
    config = _settings(
        architecture,
        weights["W_enc"].shape,
        trainer.get("layer"),
        apply_b_dec_to_input=kind != "JumpReluAutoEncoder",
        model_name=trainer.get("lm_name"),
        context_size=buffer.get("ctx_len"),
    )
    if architecture == "topk":
        config |= {"activation_fn": "topk", "activation_fn_kwargs": {"k": int(trainer["k"])}}
    weights = {key: value.to(device, torch.float32) for key, value in weights.items()}
    return config | (cfg_overrides or {}), weights


def _named(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of dictionary_learning under sae-lens's names; layers store (out, in)."""
    named: dict[str, Tensor] = {}
    plain = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "r_mag")
    other = {
        "encoder.bias": "b_enc",
        "bias": "b_dec",
        "decoder_bias": "b_dec",
        "gate_bias": "b_gate",
        "mag_bias": "b_mag",
    }
    for key, value in stored.items():
        if key in ("encoder.weight", "decoder.weight"):
            named["W_enc" if key.startswith("enc") else "W_dec"] = value.T.contiguous()
        elif key in plain or key in other:
            named[other.get(key, key)] = value
    return named


def _settings(
    architecture: str, shape: torch.Size, layer: int | None, **more: Any
) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "d_in": shape[0],
        "d_sae": shape[1],
        "dtype": "float32",
        "device": "cpu",
        "hook_name": None if layer is None else f"blocks.{layer}.hook_resid_post",
        "prepend_bos": True,
        "normalize_activations": "none",
        "finetuning_scaling_factor": False,
        **more,
    }


def _layer_of(path: Path) -> int | None:
    """The layer that the last part of a path with a layer names."""
    for part in reversed(path.parts):
        if found := _LAYER.search(part):
            return int(found[1])
    return None


def _require(path: Path, weights: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in weights]
    if missing:
        raise SaeError(
            f"{path} lacks the weights {', '.join(missing)}",
            expected=f"{', '.join(names)}",
            fix="restore the file; this may be another kind of SAE than its folder says",
        )
