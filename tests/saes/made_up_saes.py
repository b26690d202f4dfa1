"""Made-up SAEs in every published format, each with what its own code would compute, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

D_MODEL, D_SAE, K, LAYER = 16, 40, 5, 1


@dataclass(frozen=True)
class MadeUp:
    """Files below `folder`, and codes and decoder by hand."""

    folder: Path
    encode: Callable[[torch.Tensor], torch.Tensor]
    W_dec: torch.Tensor
    b_dec: torch.Tensor

    def reconstruct(self, x):
        return self.encode(x) @ self.W_dec + self.b_dec


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "W_enc": (D_MODEL, D_SAE),
        "b_enc": (D_SAE,),
        "W_dec": (D_SAE, D_MODEL),
        "b_dec": (D_MODEL,),
    }
    found = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    found["threshold"] = torch.rand(D_SAE, generator=generator) + 0.5
    found["r_mag"] = 0.1 * torch.randn(D_SAE, generator=generator)
    found["b_gate"] = torch.randn(D_SAE, generator=generator)
    return found


def top_k(pre):
    values, where = pre.relu().topk(K, dim=-1)
    return torch.zeros_like(pre).scatter(-1, where, values)


def jump(pre, threshold):
    return pre.relu() * (pre > threshold)


def gemma_scope(root, w, *, second=False):
    folder = root / f"layer_{LAYER}" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    if second:
        save_file({n.replace("W_", "w_"): w[n] for n in names}, folder / "params.safetensors")
    else:
        np.savez(folder / "params.npz", **{n: w[n].numpy() for n in names})
    encode = lambda x: jump(x @ w["W_enc"] + w["b_enc"], w["threshold"])  # noqa: E731
    return MadeUp(folder, encode, w["W_dec"], w["b_dec"])


def sparsify(root, w, **settings):
    folder = root / f"layers.{LAYER}"
    folder.mkdir(parents=True)
    config = {"d_in": D_MODEL, "num_latents": D_SAE, "k": K, "normalize_decoder": True}
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    stored = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "W_dec": w["W_dec"],
        "b_dec": w["b_dec"],
    }
    save_file(stored, folder / "sae.safetensors")
    encode = lambda x: top_k((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])  # noqa: E731
    return MadeUp(folder, encode, w["W_dec"], w["b_dec"])


def dictionary_learning(root, w, kind):
    folder = root / f"resid_post_layer_{LAYER}" / "trainer_0"
    folder.mkdir(parents=True)
    trainer = {"dict_class": kind, "activation_dim": D_MODEL, "dict_size": D_SAE}
    trainer |= {"k": K, "layer": LAYER, "lm_name": "org/some-model"}
    config = {"trainer": trainer, "buffer": {"ctx_len": 512}}
    (folder / "config.json").write_text(json.dumps(config))
    layers = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "decoder.weight": w["W_dec"].T.contiguous(),
        "encoder.bias": w["b_enc"],
    }
    plain = {n: w[n] for n in ("W_enc", "W_dec", "b_enc", "b_dec")}
    one = torch.tensor(0.8)
    pre = lambda x: (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]  # noqa: E731
    bare = lambda x: (x - w["b_dec"]) @ w["W_enc"]  # noqa: E731
    stored, encode = {
        "AutoEncoder": (layers | {"bias": w["b_dec"]}, lambda x: pre(x).relu()),
        "AutoEncoderTopK": (
            layers | {"b_dec": w["b_dec"], "k": torch.tensor(K), "threshold": torch.tensor(-1.0)},
            lambda x: top_k(pre(x)),
        ),
        "BatchTopKSAE": (
            layers | {"b_dec": w["b_dec"], "k": torch.tensor(K), "threshold": one},
            lambda x: jump(pre(x), one),
        ),
        "MatryoshkaBatchTopKSAE": (
            plain | {"k": torch.tensor(K), "threshold": one},
            lambda x: jump(pre(x), one),
        ),
        "JumpReluAutoEncoder": (
            plain | {"threshold": w["threshold"]},
            lambda x: jump(x @ w["W_enc"] + w["b_enc"], w["threshold"]),
        ),
        "GatedAutoEncoder": (
            {n: v for n, v in layers.items() if n != "encoder.bias"}
            | {"decoder_bias": w["b_dec"], "r_mag": w["r_mag"]}
            | {"gate_bias": w["b_gate"], "mag_bias": w["b_enc"]},
            lambda x: (
                (bare(x) * w["r_mag"].exp() + w["b_enc"]).relu() * (bare(x) + w["b_gate"] > 0)
            ),
        ),
    }[kind]
    torch.save(stored, folder / "ae.pt")
    return MadeUp(folder, encode, w["W_dec"], w["b_dec"])


def llama_scope(root, w, *, scale):
    """The factor is not folded in; the loader scales the threshold with it."""
    folder = root / "Llama3_1-8B-Base-L1R-8x"
    (folder / "checkpoints").mkdir(parents=True)
    config = {
        "d_model": D_MODEL,
        "d_sae": D_SAE,
        "jump_relu_threshold": 0.8 / scale,
        "dataset_average_activation_norm": {"in": D_MODEL**0.5 / scale},
        "hook_point_in": f"blocks.{LAYER}.hook_resid_post",
    }
    (folder / "hyperparams.json").write_text(json.dumps(config))
    stored = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "decoder.weight": w["W_dec"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "decoder.bias": w["b_dec"],
    }
    save_file(stored, folder / "checkpoints" / "final.safetensors")
    encode = lambda x: jump(x * scale @ w["W_enc"] + w["b_enc"], torch.tensor(0.8))  # noqa: E731
    return MadeUp(folder, encode, w["W_dec"] / scale, w["b_dec"] / scale)


def qwen_scope(root, w):
    stored = {"W_enc": w["W_enc"].T.contiguous(), "W_dec": w["W_dec"].T.contiguous()}
    stored |= {"b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    root.mkdir(parents=True, exist_ok=True)
    torch.save(stored, root / f"layer{LAYER}.sae.pt")
    encode = lambda x: top_k(x @ w["W_enc"] + w["b_enc"])  # noqa: E731
    return MadeUp(root, encode, w["W_dec"], w["b_dec"])


def sae_lens(root, w, kind):
    """The library's own format, written by the library."""
    from sae_lens.saes.sae import SAEMetadata

    from conceptbasis.saes.sae import import_sae_lens

    module = import_sae_lens()
    folder = root / f"layer_{LAYER:02d}"
    metadata = SAEMetadata(
        model_name="llama", hook_name=f"blocks.{LAYER}.hook_resid_post", context_size=64
    )
    options = {"k": K} if kind == "TopKSAE" else {}
    config = getattr(module, f"{kind}Config")
    sae = getattr(module, kind)(config(D_MODEL, D_SAE, metadata=metadata, **options))
    renamed = w | {"b_mag": w["b_enc"]}
    for name, parameter in sae.named_parameters():
        parameter.data = renamed[name].clone()
    sae.save_model(folder)
    pre = lambda x: (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]  # noqa: E731
    encode = {
        "StandardSAE": lambda x: pre(x).relu(),
        "TopKSAE": lambda x: top_k(pre(x)),
        "JumpReLUSAE": lambda x: jump(pre(x), w["threshold"]),
    }[kind]
    return MadeUp(folder, encode, w["W_dec"], w["b_dec"])


FOLDERS = {
    "gemma scope": gemma_scope,
    "gemma scope 2": lambda root, w: gemma_scope(root, w, second=True),
    "sparsify": sparsify,
    **{
        f"dictionary_learning {kind}": lambda root, w, kind=kind: dictionary_learning(root, w, kind)
        for kind in (
            "AutoEncoder",
            "AutoEncoderTopK",
            "BatchTopKSAE",
            "MatryoshkaBatchTopKSAE",
            "JumpReluAutoEncoder",
            "GatedAutoEncoder",
        )
    },
    **{
        f"sae-lens {kind}": lambda root, w, kind=kind: sae_lens(root, w, kind)
        for kind in ("StandardSAE", "TopKSAE", "JumpReLUSAE")
    },
}
"""What writes each format to a folder."""
