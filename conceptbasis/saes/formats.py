"""Reads SAEs from folders in the formats that are published, and names the format of each.

sae-lens converts where it has a loader for folders; the other formats are read here by what their
own code computes. Weights are safetensors, npz arrays, or PyTorch files opened without pickled
objects.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptbasis.errors import SaeError
from conceptbasis.saes.bounds import check_archive, check_stored
from conceptbasis.saes.hook_names import Settings, is_residual, settle_hook, states_residual

Components = tuple[Settings, dict[str, Tensor]]
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

    def read(path: Path, device: str = "cpu", cfg_overrides: Any = None) -> Components:
        config, weights = readers[name](path, device, cfg_overrides)
        return settle_hook(config, path), weights

    for name, files in FILES.items():
        if all((folder / file).is_file() for file in files):
            return name, read
    listed = "; ".join(f"{name}: {' and '.join(files)}" for name, files in FILES.items())
    found = sorted(path.name for path in folder.iterdir())[:8]
    raise SaeError(
        f"{folder} holds an SAE of no known format: {', '.join(found) or 'it is empty'}",
        expected=f"the files of one format ({listed})",
        fix="name the folder of one SAE with its files, or convert the SAE with sae-lens's "
        "save_inference_model; a trainer's checkpoint is none",
    )


def read_sparsify(path: str | Path, device: str = "cpu", cfg_overrides: Any = None) -> Components:
    """EleutherAI sparsify: TopK after the decoder bias is taken off.

    sae-lens's own loader transposes `W_dec`, which is stored as (features, width), leaves the
    bias in the input where decoder rows are normalised, and takes the parent folder's name for
    the model's.

    Args:
        path: The folder of one hook point, such as `layers.5`; the settings of its training
            stand above it where they were published.
        device: A torch device.
        cfg_overrides: Entries of the configuration that stand over those of the folder.

    Raises:
        SaeError: A transcoder, a skip connection, or an activation other than TopK.
    """
    from safetensors.torch import load_file

    path = Path(os.path.abspath(path))
    settings = json.loads((path / "cfg.json").read_text(encoding="utf-8-sig"))
    run = _settings_above(path)
    odd = [key for key in ("transcode", "skip_connection", "signed") if settings.get(key)]
    odd += [f"activation {a}" for a in (settings.get("activation", "topk"),) if a != "topk"]
    odd += [f"hook_mode {m}" for m in (run.get("hook_mode") or "output",) if m != "output"]
    if odd:
        raise SaeError(
            f"{path} is a sparse coder with {', '.join(odd)}",
            expected="an autoencoder with TopK activation of what a block puts out",
            fix="use another SAE: this one does not rebuild the residual stream behind a block "
            "from a sum of features",
        )
    weights = _named(load_file(path / "sae.safetensors"))
    _require(path, weights, ("W_enc", "W_dec"))
    d_in, d_sae = weights["W_enc"].shape
    weights = {"b_enc": torch.zeros(d_sae), "b_dec": torch.zeros(d_in)} | weights
    config = _settings(
        "topk",
        weights["W_enc"].shape,
        apply_b_dec_to_input=True,
        activation_fn="topk",
        activation_fn_kwargs={"k": int(settings["k"])},
        model_name=run.get("model"),
        context_size=run.get("ctx_len"),
    )
    weights = {key: value.to(device, torch.float32) for key, value in weights.items()}
    return config | (cfg_overrides or {}), weights


def _settings_above(path: Path) -> dict[str, Any]:
    """The settings of a sparsify training, which lie beside the folders of its hook points."""
    try:
        found = json.loads((path.parent / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "hookpoints" in found else {}


def read_gemma_scope(
    path: str | Path, device: str = "cpu", cfg_overrides: Any = None
) -> Components:
    """Gemma Scope (npz) and Gemma Scope 2 (safetensors): JumpReLU on the raw input.

    Args:
        path: The folder. The first release states the layer in the folder's name only, the second
            states in config.json what goes in and what comes out.
        device: A torch device.
        cfg_overrides: Entries of the configuration that stand over those of the folder.
    """
    import numpy as np
    from safetensors.torch import load_file

    path = Path(path)
    if (path / "params.npz").is_file():
        check_archive(path / "params.npz")
        with np.load(path / "params.npz", allow_pickle=False) as stored:
            named = {key: torch.from_numpy(stored[key]) for key in stored.files}
    else:
        named = load_file(path / "params.safetensors")
    # The first release writes W_enc and W_dec, the second w_enc and w_dec.
    named = {re.sub("^w_", "W_", key): value for key, value in named.items()}
    _require(path, named, ("W_enc", "W_dec", "b_enc", "b_dec", "threshold"))
    wanted = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    config = _settings("jumprelu", named["W_enc"].shape, apply_b_dec_to_input=False)
    if (path / "config.json").is_file():
        said = json.loads((path / "config.json").read_text(encoding="utf-8-sig"))
        names = {"hook_name": "hf_hook_point_in", "hook_name_out": "hf_hook_point_out"}
        config |= {ours: said[theirs] for ours, theirs in names.items() if said.get(theirs)}
    if "affine_skip_connection" in named:
        config["hook_name"] = "a skip transcoder (by its weights)"
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
    settings = json.loads((path / "config.json").read_text(encoding="utf-8-sig"))
    trainer, buffer = settings["trainer"], settings.get("buffer") or {}
    kind = trainer["dict_class"]
    if kind not in _DICTIONARIES:
        raise SaeError(
            f"{path} is a {kind} of dictionary_learning",
            expected=f"one of {', '.join(_DICTIONARIES)}",
            fix="convert it to sae-lens's format, or use another SAE",
        )
    stored = torch.load(path / "ae.pt", map_location="cpu", weights_only=True)
    check_stored(path / "ae.pt", stored)
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
        hook_name=_dictionary_hook(trainer, buffer),
        apply_b_dec_to_input=kind != "JumpReluAutoEncoder",
        model_name=trainer.get("lm_name"),
        context_size=buffer.get("ctx_len"),
    )
    if architecture == "topk":
        config |= {"activation_fn": "topk", "activation_fn_kwargs": {"k": int(trainer["k"])}}
    weights = {key: value.to(device, torch.float32) for key, value in weights.items()}
    return config | (cfg_overrides or {}), weights


def _dictionary_hook(trainer: Mapping[str, Any], buffer: Mapping[str, Any]) -> str | None:
    """The hook that the configuration of dictionary_learning states; its names are free text."""
    layer, module = trainer.get("layer"), trainer.get("submodule_name")
    if (buffer.get("io") or "out") != "out":
        return f"an input to {module or 'a module'}, resid_pre or other"
    if module is not None and not is_residual(str(module)):
        return str(module)
    if layer is None:
        return None
    stated = module is not None and states_residual(str(module))
    return f"blocks.{layer}.hook_resid_post" if stated else f"blocks.{layer}"


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


def _settings(architecture: str, shape: torch.Size, **more: Any) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "d_in": shape[0],
        "d_sae": shape[1],
        "dtype": "float32",
        "device": "cpu",
        "prepend_bos": True,
        "normalize_activations": "none",
        "finetuning_scaling_factor": False,
        **more,
    }


def _require(path: Path, weights: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in weights]
    if missing:
        raise SaeError(
            f"{path} lacks the weights {', '.join(missing)}",
            expected=f"{', '.join(names)}",
            fix="restore the file; this may be another kind of SAE than its folder says",
        )
