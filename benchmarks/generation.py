"""Generation under hooks and harvest, against the same model without them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.case import measured
from conceptbasis.models.loading.load import LoadedModel, wrap_model
from conceptbasis.models.stream.capture import forward_body
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.residuals import read_residuals
from conceptbasis.models.stream.weights import orthogonalise_weights
from conceptbasis.models.text.chat import encode_texts
from conceptbasis.models.text.generation import complete
from conceptbasis.organisms.corpus import all_texts
from conceptbasis.organisms.families import FAMILIES
from conceptbasis.organisms.tokenizers import fit_tokenizer
from conceptbasis.runs.progress import Reporter

SIZES = {
    "organism": {"hidden_size": 112, "intermediate_size": 288, "num_hidden_layers": 8},
    "100M": {"hidden_size": 768, "intermediate_size": 2560, "num_hidden_layers": 12},
}
_NEW_TOKENS = 24


def make(size: str, **changes: int) -> LoadedModel:
    """A random Llama that never ends an answer, so that token counts are equal."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = fit_tokenizer(FAMILIES["llama"], all_texts())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=8,
        num_key_value_heads=8,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**SIZES[size], **changes},
    )
    model = LlamaForCausalLM(config)
    loaded = wrap_model(model, tokenizer, name=size)
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0
    return loaded


def _prompts(n: int) -> list[str]:
    from conceptbasis.organisms.suite import build_suite

    return [p.text for p in build_suite(0)["eval_harmless"][:n]]


def replay(size: str, n: int) -> dict[str, Any]:
    """Completions of equal length, plain and under an edit of every layer, by turns."""
    loaded, prompts = make(size), _prompts(n)
    d, n_layers = loaded.architecture.d_model, loaded.architecture.n_layers
    r = torch.nn.functional.normalize(torch.ones(d), dim=0)
    modes: tuple[Any, ...] = ("plain", "ablate", "affine")
    found: dict[str, dict[str, Any]] = {}
    for _ in range(4):
        for mode in modes:
            edits = [Edit(i, r, mode, mean=torch.zeros(d)) for i in range(n_layers)]
            counts: list[int] = []

            def work(mode: str = mode, edits: Any = edits, counts: list[int] = counts) -> None:
                with nullcontext() if mode == "plain" else intervene(loaded, edits):
                    made = complete(loaded, prompts, max_new_tokens=_NEW_TOKENS, batch_size=n)
                counts.append(sum(len(row) for row in made.tokens))

            one = {**measured(work), "tokens": counts[-1]}
            if mode not in found or one["seconds"] < found[mode]["seconds"]:
                found[mode] = one
    return found


def weight_edit(size: str, n: int) -> dict[str, Any]:
    """Completions with and without an edit of all writers, by turns; and the edit with restore."""
    loaded, prompts = make(size), _prompts(n)
    r = torch.nn.functional.normalize(torch.ones(loaded.architecture.d_model), dim=0)
    directions = dict.fromkeys(range(loaded.architecture.n_layers), r)
    counts: list[int] = []

    def work() -> None:
        made = complete(loaded, prompts, max_new_tokens=_NEW_TOKENS, batch_size=n)
        counts.append(sum(len(row) for row in made.tokens))

    def edit() -> None:
        with orthogonalise_weights(loaded, directions):
            pass

    found: dict[str, list[dict[str, Any]]] = {"plain": [], "edited": []}
    for _ in range(5):
        found["plain"].append(measured(work))
        with orthogonalise_weights(loaded, directions):
            found["edited"].append(measured(work))
    best = {name: min(runs, key=lambda run: run["seconds"]) for name, runs in found.items()}
    edit()
    return best | {"edit": measured(edit, repeats=5), "equal": len(set(counts)) == 1}


def drafted(size: str, n: int) -> dict[str, Any]:
    """The same completions with their own tokens as drafts."""
    loaded, prompts = make(size), _prompts(n)
    own = complete(loaded, prompts, max_new_tokens=_NEW_TOKENS, batch_size=n).tokens

    def work() -> None:
        complete(loaded, prompts, max_new_tokens=_NEW_TOKENS, drafts=[[row] for row in own])

    work()
    return measured(work, repeats=3)


def harvest(size: str, kind: str, n: int) -> dict[str, Any]:
    """Residuals of all layers at content sites, or bare forward passes of the same batches."""
    loaded = make(size)
    texts = [t for t in _texts() if t.text_class == "chat"][:n]
    order = sorted(texts, key=lambda t: len(str(t.content)))
    n_layers = loaded.architecture.n_layers

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, n, 64):
                some = [t.as_messages() for t in order[start : start + 64]]
                batch = encode_texts(loaded.tokenizer, some, end_of_prompt=True)
                forward_body(loaded, batch.input_ids, batch.attention_mask)

    def read(layers: range) -> None:
        read_residuals(
            loaded,
            texts,
            layers,
            batch_size=64,
            end_of_prompt=True,
            reporter=Reporter(quiet=True),
            label="",
        )

    kinds: dict[str, Callable[[], None]] = {
        "bare": bare,
        "all": lambda: read(range(n_layers)),
        "half": lambda: read(range(n_layers // 2)),
    }
    kinds[kind]()
    return measured(kinds[kind], repeats=2)


def _texts() -> Any:
    from conceptbasis.organisms.suite import build_suite

    return build_suite(0).texts_for("B0")
