"""Each family of the table against a forward pass by hand: sites, edits, coverage, restoration."""

from dataclasses import replace

import pytest
import torch
from hand_run import SEQUENTIAL, TOPOLOGIES, hand_run, model_logits
from tiny import WRAPPERS, make_loaded, unit, without

from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.proof import prove_writers
from conceptbasis.models.architecture.table import ARCHITECTURES
from conceptbasis.models.stream.capture import capture_sites
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.weights import iter_residual_writers, orthogonalise_weights

FAMILIES = sorted(TOPOLOGIES)
ALLOWED = [name for name in FAMILIES if TOPOLOGIES[name].after_attention is None]
REFUSED = [name for name in FAMILIES if name not in ALLOWED]
LAYERS = range(3)
SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


def sites_of(loaded, batch):
    found = capture_sites(loaded, batch.input_ids, batch.attention_mask, layers=LAYERS, sites=SITES)
    kept = batch.attention_mask.bool()
    return {site: [found[site][layer][kept] for layer in LAYERS] for site in SITES}


def test_the_table_and_this_file_know_the_same_families():
    assert set(TOPOLOGIES) == set(ARCHITECTURES)
    assert {name for name in TOPOLOGIES if TOPOLOGIES[name].text_tower} == set(WRAPPERS)
    assert all(row.family for row in ARCHITECTURES.values())


@pytest.mark.parametrize("model_type", FAMILIES)
def test_sites_equal_a_forward_pass_by_hand(models, batch, model_type):
    loaded, kept = models[model_type], batch.attention_mask.bool()
    ids, mask = batch.input_ids, batch.attention_mask
    by_hand, logits = hand_run(loaded.model, ids, mask, TOPOLOGIES[model_type])
    torch.testing.assert_close(logits[kept], model_logits(loaded.model, ids, mask)[kept])
    found = sites_of(loaded, batch)
    for site in SITES:
        for layer in LAYERS:
            torch.testing.assert_close(found[site][layer], by_hand[site][layer][kept])


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
VARIANTS = {
    "Llama 2, every head its own key": ("llama", {"num_key_value_heads": 2}),
    "Llama 3.x, scaled rotations": ("llama", {"rope_parameters": LLAMA3}),
    "Llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "GPT-NeoX with sequential branches": ("gpt_neox", {"use_parallel_residual": False}),
    "Mistral with a window": ("mistral", {"sliding_window": 3}),
    "Mixtral with a window": ("mixtral", {"sliding_window": 3}),
    "Qwen2-MoE with a dense layer": ("qwen2_moe", {"mlp_only_layers": [1]}),
    "DeepSeek-V3 with whole queries": ("deepseek_v3", {"q_lora_rank": None}),
    "DeepSeek-V3 without dense layers": ("deepseek_v3", {"first_k_dense_replace": 0}),
    "GPT-OSS with a window": ("gpt_oss", {"sliding_window": 3}),
    "Gemma 3 with a window": ("gemma3_text", {"sliding_window": 3}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_a_family_fit_its_row(batch, name):
    model_type, changes = VARIANTS[name]
    loaded, ids, mask = make_loaded(model_type, **changes), batch.input_ids, batch.attention_mask
    topology = TOPOLOGIES[model_type]
    if "use_parallel_residual" in changes:
        topology = replace(topology, parallel=False)
    by_hand, logits = hand_run(loaded.model, ids, mask, topology)
    kept = mask.bool()
    torch.testing.assert_close(logits[kept], model_logits(loaded.model, ids, mask)[kept])
    found = sites_of(loaded, batch)
    for site in SITES:
        for layer in LAYERS:
            torch.testing.assert_close(found[site][layer], by_hand[site][layer][kept])
    prove_writers(loaded)


@pytest.mark.parametrize("model_type", ["gemma2", "olmo2", "gpt_neox"])
def test_a_wrong_forward_by_hand_is_seen_in_the_logits(models, batch, model_type):
    """Negative control: norms or branches in the wrong order do not give the model's logits."""
    loaded, kept = models[model_type], batch.attention_mask.bool()
    wrong = replace(
        TOPOLOGIES[model_type],
        after_attention=None,
        before_mlp=SEQUENTIAL.before_mlp,
        parallel=False,
    )
    _, logits = hand_run(loaded.model, batch.input_ids, batch.attention_mask, wrong)
    own = model_logits(loaded.model, batch.input_ids, batch.attention_mask)
    assert not torch.allclose(logits[kept], own[kept], atol=1e-2)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_ablation_removes_the_component_at_every_site(models, batch, model_type):
    loaded, r = models[model_type], unit(16, 5)
    plain = sites_of(loaded, batch)
    edits = [Edit(layer, r) for layer in LAYERS]
    with without(loaded, r), intervene(loaded, edits, scope="writers"):
        edited = sites_of(loaded, batch)
    for site in SITES:
        for layer in LAYERS:
            scale = edited[site][layer].norm(dim=-1).mean()
            assert (edited[site][layer] @ r).abs().max() < 1e-4 * scale, site
            # Negative control: it was there before.
            before = plain[site][layer]
            assert (before @ r).abs().mean() > 1e-3 * before.norm(dim=-1).mean(), site


@pytest.mark.parametrize("model_type", ALLOWED)
def test_orthogonal_weights_equal_hooks(models, batch, model_type):
    loaded = models[model_type]
    directions = {layer: unit(16, 10 + layer) for layer in LAYERS}
    edits = [Edit(layer, r) for layer, r in directions.items()]
    plain = sites_of(loaded, batch)
    with without(loaded, unit(16, 9)), intervene(loaded, edits, scope="writers") as hooks:
        by_hooks = sites_of(loaded, batch)
    with without(loaded, unit(16, 9)), orthogonalise_weights(loaded, directions) as weights:
        by_weights = sites_of(loaded, batch)
    assert weights == hooks
    for site in SITES:
        for layer in LAYERS:
            torch.testing.assert_close(
                by_weights[site][layer], by_hooks[site][layer], rtol=1e-3, atol=2e-4
            )
            assert not torch.allclose(by_weights[site][layer], plain[site][layer], atol=1e-2)


@pytest.mark.parametrize("model_type", REFUSED)
def test_weights_are_refused_where_a_norm_follows_and_would_not_hold(models, batch, model_type):
    loaded, r = models[model_type], unit(16, 4)
    with (
        pytest.raises(InterventionError, match=f"{model_type}, whose writers are followed by a no"),
        orthogonalise_weights(loaded, {0: r}),
    ):
        pass
    # Why: the norm's weight turns what was orthogonal, so a forced edit leaves a component.
    writers = list(iter_residual_writers(loaded, 0))
    kept = [writer.parameter.clone() for writer in writers]
    try:
        for writer in writers:
            writer.parameter.sub_(torch.outer(r, r @ writer.parameter))
        after = sites_of(loaded, batch)["attn_out"][0]
    finally:
        for writer, values in zip(writers, kept, strict=True):
            writer.parameter.copy_(values)
    assert (after @ r).abs().mean() > 1e-3 * after.norm(dim=-1).mean()


@pytest.mark.parametrize("model_type", ALLOWED)
def test_every_writer_is_covered_and_restored_after_an_exception(models, model_type):
    loaded, r = models[model_type], unit(16, 6)
    prove_writers(loaded)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    objects = [id(p) for p in loaded.model.parameters()]
    with without(loaded, r), orthogonalise_weights(loaded, dict.fromkeys(LAYERS, r)):
        for layer in LAYERS:
            for writer in iter_residual_writers(loaded, layer):
                assert (r @ writer.matrix).abs().max() < 1e-5, writer.name
                assert writer.bias is None or abs(float(r @ writer.bias)) < 1e-5, writer.name
    with (
        pytest.raises(RuntimeError, match="inside"),
        orthogonalise_weights(loaded, dict.fromkeys(LAYERS, r)),
    ):
        raise RuntimeError("inside")
    assert [id(p) for p in loaded.model.parameters()] == objects
    after = loaded.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    # Negative control: outside the context the writers do write along r.
    first = next(iter_residual_writers(loaded, 0))
    assert (r @ first.matrix).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", REFUSED)
def test_rows_with_a_norm_after_the_writers_are_proved_too(models, model_type):
    prove_writers(models[model_type])


WRITERS = {
    "gpt2": {"attention", "mlp"},
    "mixtral": {"attention", "expert"},
    "olmoe": {"attention", "expert"},
    "gpt_oss": {"attention", "expert"},
    "qwen3_vl_moe": {"attention", "expert"},
    "qwen3_moe": {"attention", "mlp", "expert"},
    "qwen2_moe": {"attention", "expert", "shared_expert"},
    "deepseek_v3": {"attention", "mlp", "expert", "shared_expert"},
}


@pytest.mark.parametrize("model_type", WRITERS)
def test_kinds_of_writers(models, model_type):
    slots = [s for layer in LAYERS for s in models[model_type].architecture.writers(layer)]
    assert {slot.kind for slot in slots} == WRITERS[model_type]
    biased = {slot.kind for slot in slots if slot.bias is not None}
    assert biased == (WRITERS[model_type] if model_type in ("gpt2", "gpt_oss") else set())
    turned = {slot.kind for slot in slots if slot.orientation == "in_out"}
    assert turned == {"gpt2": {"attention", "mlp"}, "gpt_oss": {"expert"}}.get(model_type, set())
