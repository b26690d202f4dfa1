"""The memory estimate against known models and against what is really held."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import torch
from tiny import PROMPTS, encode_prompts, make_config, make_loaded, make_tokenizer

from conceptbasis.cli.main import main
from conceptbasis.core.features.matching import eligible_pairs, shift_null
from conceptbasis.core.features.partners import CodePair, best_partners, feature_stats
from conceptbasis.core.statistics.moments import StreamingMoments, moments_bytes
from conceptbasis.models.loading.memory import (
    Load,
    ModelSize,
    estimate_memory,
    match_bytes,
    model_size,
)

LOAD = Load(n_sites=1000, n_saes=3, d_sae=40, l0=5, batch_size=4, n_tokens=20, peer_d_sae=50)
SHAPES = {
    # Published sizes of the models with these shapes.
    "Llama-3.2-1B": (1_235_814_400, (128256, 2048, 8192, 16, 32, 8, 64, True)),
    "Llama-3.1-8B": (8_030_261_248, (128256, 4096, 14336, 32, 32, 8, 128, False)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_that_are_published(name):
    from transformers import AutoModelForCausalLM, LlamaConfig

    n, (vocab, width, mlp, layers, heads, kv, d_head, tied) = SHAPES[name]
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=d_head,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    size = model_size(model, width, vocab, "bfloat16", None)
    assert size.n_parameters == n
    assert estimate_memory(size, LOAD)["weights"] == 2 * n


@pytest.mark.parametrize(
    "model_type", ["llama", "gpt2", "mixtral", "gemma2", "gpt_oss", "qwen2_vl"]
)
def test_weights_and_cache_are_those_of_the_loaded_model(model_type):
    from transformers import DynamicCache

    loaded = make_loaded(model_type)
    architecture = loaded.architecture
    size = model_size(loaded.model, architecture.d_model, architecture.d_vocab, "float32", None)
    held = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    assert estimate_memory(size, LOAD)["weights"] == held
    batch = encode_prompts(loaded.tokenizer, PROMPTS)
    cache = DynamicCache()
    with torch.no_grad():
        loaded.model(batch.input_ids, attention_mask=batch.attention_mask, past_key_values=cache)
    tensors = [t for layer in cache.layers for t in (layer.keys, layer.values)]
    cached = sum(t.numel() * t.element_size() for t in tensors)
    tokens = batch.input_ids.shape[1]
    found = estimate_memory(size, Load(0, 0, 0, 0, len(PROMPTS), tokens))["answers"]
    assert found - 2 * len(PROMPTS) * architecture.d_vocab * 4 == cached


def test_parts_are_the_formula_by_hand():
    size = ModelSize(100, 2.0, 3, 16, 320, 32)
    parts = estimate_memory(size, LOAD)
    assert parts["residuals"] == 2 * 1000 * 3 * 16 * 4
    assert parts["saes"] == 3 * 3 * 40 * 16 * 4
    assert parts["codes"] == 1000 * 3 * 5 * 8
    assert parts["match"] == 34 * 2 * 1000 * 5 + 48 * (40 + 50) * 10 + 2**21
    kept = [8 * (a * a + a * b + a + 2 * b) for a, b in ((40, 50), (40, 16), (50, 16))]
    assert parts["maps"] == sum(kept) + 5 * max(kept) + 4 * 2**26 + 24 * 1000 * 5
    largest = max(parts[name] for name in ("residuals", "answers", "match", "maps"))
    assert parts["most"] == 200 + parts["saes"] + parts["codes"] + largest


def test_large_dictionaries_do_not_make_large_matrices():
    load = replace(LOAD, d_sae=16_384, peer_d_sae=16_384, n_workers=2)
    parts = estimate_memory(ModelSize(100, 2.0, 3, 4096, 320, 32), load)
    one_matrix = 16_384**2 * 8
    assert parts["match"] < one_matrix / 30
    assert 8 * 2**28 < parts["maps"] < 10 * 2**28 < 2 * one_matrix


@pytest.mark.parametrize(("n", "d", "active"), [(12_000, 512, 32), (1500, 16_384, 8)])
def test_matching_a_pair_takes_what_the_formula_says(n, d, active):
    """Between half and all of it, with codes and with partners in the majority."""
    rng = np.random.default_rng(0)
    shape = (n, d)
    columns = rng.integers(0, d, n * active)
    places = (np.repeat(np.arange(n), active), columns)
    sides = [
        scipy.sparse.csr_matrix((rng.random(n * active, dtype=np.float32), places), shape)
        for _ in range(2)
    ]
    weights = torch.ones(n, dtype=torch.float64)
    warm = [side[:50] for side in sides]
    best_partners([CodePair(*warm)], *feature_stats([CodePair(*warm)]), k=2)
    nnz = sum(side.nnz for side in sides) / 2
    cut = 3 * n // 4
    tracemalloc.start()
    fit, heldout = (
        CodePair(*(side[rows] for side in sides), weights[rows])
        for rows in (slice(cut), slice(cut, n))
    )
    generator = torch.Generator().manual_seed(0)
    null = shift_null(
        heldout.donor,
        heldout.target,
        n_shifts=2,
        min_shift=10,
        generator=generator,
        weights=heldout.weights,
    )
    eligible_pairs([fit], [heldout], null)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = match_bytes(Load(n, 1, d, nnz / n, 1, 1, peer_d_sae=d))
    assert said / 2 < most < said


def test_moments_take_what_the_formula_says():
    moments = StreamingMoments(40, 70)
    tensors = [v for v in vars(moments).values() if isinstance(v, torch.Tensor)]
    assert sum(t.untyped_storage().nbytes() for t in tensors) == moments_bytes(40, 70)


def test_doctor_says_it_before_weights_exist(tmp_path, capsys):
    make_config("llama", hidden_size=4096, num_hidden_layers=40).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert main(["doctor", "--model", str(tmp_path), "--json"]) == 0
    small = json.loads(capsys.readouterr().out)["memory"]["bytes"]
    assert (
        main(["doctor", "--model", str(tmp_path), "--json", "--set", "harvest.n_texts=6000"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["memory"]["bytes"]["residuals"] == (
        2 * small["residuals"]
    )
    assert main(["doctor", "--model", str(tmp_path)]) == 0
    assert "memory, GB" in capsys.readouterr().out
