"""Time, memory and speed of a whole transfer at the size of real models, with random weights.

    python scripts/gpu_scale.py OUT --shape Qwen3-4B [--features 16384] [--device cuda] [--reduce 1]

A model in the exact shape is made and saved once, with random weights and random SAEs at a few
layers; it is donor and target at the same time, as two loaded models, so that features match and
every stage has work. What it says about refusal means nothing. `--reduce N` divides widths, layers,
vocabulary and features, to try the script without a GPU. Each run appends a row to
OUT/scale.jsonl.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch

from conceptbasis.config.base import parse_config
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig, load_run_config
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import apply_intervention, intervention_of
from conceptbasis.models.loading.memory import Load, estimate_memory, model_size
from conceptbasis.models.text.generation import complete
from conceptbasis.organisms.families import FAMILIES
from conceptbasis.organisms.suite import build_suite
from conceptbasis.organisms.tokenizers import fit_tokenizer
from conceptbasis.pipeline import run_pipeline
from conceptbasis.results.harvest import Harvest
from conceptbasis.runs.files import read_json
from conceptbasis.runs.graph import load_result
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.result import layer_folder
from conceptbasis.saes.sae import import_sae_lens
from conceptbasis.study.opening import open_model

ROPE = {"max_position_embeddings": 2048}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama-3.2-1B": (
        "LlamaConfig",
        {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192}
        | {"num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"head_dim": 64, "tie_word_embeddings": True},
    ),
    "Qwen3-4B": (
        "Qwen3Config",
        {"vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728}
        | {"num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"head_dim": 128, "tie_word_embeddings": True},
    ),
    "Llama-3.1-8B": (
        "LlamaConfig",
        {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336}
        | {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"head_dim": 128, "tie_word_embeddings": False},
    ),
    "OLMoE-1B-7B": (
        "OlmoeConfig",
        {"vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 1024}
        | {"num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 16}
        | {"num_experts": 64, "num_experts_per_tok": 8, "tie_word_embeddings": False},
    ),
}
"""Sizes as the models' own configurations state them."""
_REDUCED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_experts")
_LEAST = {"vocab_size": 2048, "hidden_size": 64, "num_hidden_layers": 4, "num_experts": 8}


def sizes_of(shape: str, reduce: int) -> tuple[str, dict[str, Any]]:
    """The configuration class and its sizes, divided by `reduce` but for what must fit heads."""
    kind, sizes = SHAPES[shape]
    if reduce == 1:
        return kind, sizes | ROPE
    small = {
        key: max(value // reduce, _LEAST.get(key, 64)) if key in _REDUCED else value
        for key, value in sizes.items()
    }
    small |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    small["hidden_size"] = small["hidden_size"] // 8 * 8
    if "head_dim" in small:
        small["head_dim"] = small["hidden_size"] // 4
    return kind, small | ROPE


def make_model(folder: Path, shape: str, reduce: int, device: str) -> None:
    """Saves a model with random weights in bfloat16, with a tokenizer of its whole vocabulary."""
    import transformers

    kind, sizes = sizes_of(shape, reduce)
    tokenizer = fit_tokenizer(FAMILIES["llama"], build_suite(0).texts)
    tokenizer.add_tokens([f"tok{i}x" for i in range(sizes["vocab_size"] - len(tokenizer))])
    ids = {k: getattr(tokenizer, k) for k in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = getattr(transformers, kind)(**sizes, **ids)
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.model_max_length = ROPE["max_position_embeddings"]
    tokenizer.save_pretrained(folder)


def make_saes(folder: Path, layers: list[int], d_model: int, d_sae: int, name: str) -> None:
    """Random TopK SAEs with tied, unit directions, in sae-lens's format."""
    module = import_sae_lens()
    from sae_lens.saes.sae import SAEMetadata

    for layer in layers:
        generator = torch.Generator().manual_seed(layer)
        rows = torch.nn.functional.normalize(
            torch.randn(d_sae, d_model, generator=generator), dim=-1
        )
        metadata = SAEMetadata(model_name=name, hook_name=f"blocks.{layer}.hook_resid_post")
        k = min(64, d_sae // 8)
        sae = module.TopKSAE(module.TopKSAEConfig(d_model, d_sae, k=k, metadata=metadata))
        sae.W_dec.data, sae.W_enc.data = rows, rows.T.contiguous()
        sae.save_model(folder / layer_folder(layer))


def prepare(out: Path, options: argparse.Namespace) -> tuple[ModelConfig, int]:
    """The model's configuration, with everything it names on disk; and features an SAE."""
    name = options.shape + (f"-reduced-{options.reduce}" if options.reduce > 1 else "")
    _, sizes = sizes_of(options.shape, options.reduce)
    n, d_sae = sizes["num_hidden_layers"], max(options.features // options.reduce, 256)
    layers = sorted({n // 4, n // 2, 3 * n // 4, n - 2})
    model, saes = out / "models" / name, out / "saes" / f"{name}-{d_sae}"
    if not (model / "tokenizer.json").exists():
        make_model(model, options.shape, options.reduce, options.device)
    if not saes.exists():
        make_saes(saes, layers, sizes["hidden_size"], d_sae, name)
    values = {"name": name, "model": str(model.resolve()), "dtype": "bfloat16", "layers": layers}
    values["saes"] = {"folder": str(saes.resolve())}
    return parse_config(ModelConfig, values, name), d_sae


def settings(options: argparse.Namespace) -> RunConfig:
    """A transfer of the size of the goal: 200 prompts, 128 tokens; nothing is required of it."""
    given = [
        f"device={options.device}",
        "n_workers=1",
        "forecast.force=true",
        "direction.min_rate=0",
        "direction.min_probe=0.5",
        f"evaluate.max_new_tokens={options.tokens}",
        f"evaluate.n_prompts={options.prompts}",
        f"evaluate.n_control_prompts={options.prompts}",
        f"evaluate.batch_size={options.batch}",
        "evaluate.controls=false",
        "evaluate.baselines=[]",
        "stability.n_splits=0",
        "tracking.mode=off",
    ]
    return load_run_config(None, [*given, *options.set])


def speed(loaded: Any, run: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Tokens a second without and with the transfer's hooks, the better of two tries each."""
    prompts = [p.text for p in build_suite(0)["eval_harmless"]][: options.prompts]
    intervention = intervention_of(load_replayed(run))

    def measure() -> float:
        started = time.perf_counter()
        found = complete(loaded, prompts, max_new_tokens=options.tokens, batch_size=200)
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
        # Random weights may write a stop token, and not at the same place under an edit.
        return sum(map(len, found.tokens)) / (time.perf_counter() - started)

    plain = max(measure(), measure())
    with apply_intervention(loaded, intervention):
        return plain, max(measure(), measure())


def peak_gb(device: str) -> tuple[float, float]:
    """Most memory of the process and of the device so far, in GB."""
    held = torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="Qwen3-4B")
    parser.add_argument("--features", type=int, default=16_384)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1000, help="answers written at a time")
    parser.add_argument("--reduce", type=int, default=1, help="divide sizes, to try the script")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    side, d_sae = prepare(options.out, options)
    run = options.out / f"{side.name}-{d_sae}"
    started = time.perf_counter()
    config = settings(options)
    run_pipeline(
        side, side.model_copy(update={"name": side.name + "-twin"}), config, run, Reporter()
    )
    total = time.perf_counter() - started
    memory, on_device = peak_gb(options.device)
    loaded = open_model(side, options.device, Reporter(quiet=True))
    plain, hooked = speed(loaded, run, options)
    bound = loaded.architecture
    size = model_size(loaded.model, bound.d_model, bound.d_vocab, side.dtype, None)
    n_sites = load_result(run, "harvest", Harvest, tensors=False).n_sites
    load = Load(n_sites, len(side.layers), d_sae, 64, options.batch, options.tokens + 32, d_sae, 1)
    expected = estimate_memory(size, load)["most"] + size.n_parameters * size.bytes_per_parameter
    stages = {
        path.parent.name: round(read_json(path)["seconds"], 1)
        for path in sorted(run.glob("*/provenance.json"))
    }
    row = {
        "shape": side.name,
        "features": d_sae,
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
        "parameters": size.n_parameters,
        "total_s": round(total, 1),
        "stages_s": stages,
        "process_gb": round(memory, 2),
        "device_gb": round(on_device, 2),
        "estimated_gb": round(expected / 1e9, 2),
        "tokens_per_s": round(plain, 1),
        "tokens_per_s_hooked": round(hooked, 1),
        "hook_overhead": round(1 - hooked / plain, 4),
    }
    with (options.out / "scale.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
