"""Oracle: TransformerLens 3.9.0 patches every head and MLP of the same weights to the same metric.

It is installed with sae-lens (constraints.txt), and reads none of our hooks: it runs its own
forward pass on converted weights.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny import make_loaded

from conceptbasis.models.stream.components import count_heads, read_components, replaced
from conceptbasis.models.stream.resuming import record, resume
from conceptbasis.results.circuits import Component

CLEAN = torch.tensor([[5, 9, 12, 7, 20], [8, 3, 15, 30, 11], [2, 60, 61, 5, 40]])
CORRUPTED = torch.tensor([[5, 9, 44, 7, 21], [8, 33, 15, 31, 11], [2, 62, 61, 6, 41]])
RIGHT, WRONG = 17, 23


def lens_of(loaded, model_type):
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import (
        convert_gpt2_weights,
        convert_llama_weights,
    )

    config = loaded.model.config
    common = {"n_layers": 3, "d_model": 16, "n_ctx": 128, "d_head": 8, "n_heads": 2, "d_vocab": 320}
    if model_type == "gpt2":
        kind = {"d_mlp": 64, "act_fn": "gelu_new", "normalization_type": "LN"}
        eps, convert = config.layer_norm_epsilon, convert_gpt2_weights
    else:
        kind = {
            "d_mlp": 24,
            "act_fn": "silu",
            "normalization_type": "RMS",
            "n_key_value_heads": config.num_key_value_heads,
            "positional_embedding_type": "rotary",
            "rotary_dim": 8,
            "rotary_adjacent_pairs": False,
            "rotary_base": config.rope_parameters["rope_theta"],
            "final_rms": True,
            "gated_mlp": True,
        }
        eps, convert = config.rms_norm_eps, convert_llama_weights
    lens = HookedTransformer(HookedTransformerConfig(**common, **kind, eps=eps, device="cpu"))
    lens.load_and_process_state_dict(
        convert(loaded.model, lens.cfg),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    return lens


def difference(logits):
    last = logits[:, -1] if logits.ndim == 3 else logits
    return (last[:, RIGHT] - last[:, WRONG]).mean()


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_patched_heads_and_mlps_equal_those_of_transformer_lens(model_type):
    from transformer_lens.patching import get_act_patch_attn_head_out_all_pos

    torch.manual_seed(0)
    loaded = make_loaded(model_type)
    lens = lens_of(loaded, model_type)
    with torch.no_grad():
        torch.testing.assert_close(
            lens(CLEAN), loaded.model(input_ids=CLEAN).logits, atol=1e-4, rtol=1e-4
        )
        _, cache = lens.run_with_cache(CLEAN)
        heads = get_act_patch_attn_head_out_all_pos(lens, CORRUPTED, cache, difference)
        mlps = []
        for layer in range(3):
            name = f"blocks.{layer}.hook_mlp_out"
            hook = partial(lambda h, hook, name: cache[name], name=name)
            mlps.append(difference(lens.run_with_hooks(CORRUPTED, fwd_hooks=[(name, hook)])))
    clean, made = read_components(loaded, CLEAN), record(loaded, CORRUPTED)
    untouched = difference(resume(loaded, made, 0))
    for layer in range(3):
        sets = [[Component(layer, h)] for h in (*range(count_heads(loaded)), -1)]
        with replaced(loaded, sets, clean):
            logits = resume(loaded, made, layer, n_times=len(sets)).unflatten(0, (len(sets), -1))
        wanted = [*heads[layer].tolist(), float(mlps[layer])]
        found = [float(difference(part)) for part in logits]
        assert found == pytest.approx(wanted, abs=1e-4)
        # The control: the effects are there, and those of unlike components differ.
        assert max(abs(w - float(untouched)) for w in wanted) > 1e-2
        assert len({round(w, 3) for w in wanted}) == len(wanted)
