"""A row that does not describe its model is refused at load; a row of the user's own opens more."""

import pytest
import torch
from tiny import make_loaded, make_model, make_tokenizer, unit

from conceptbasis.errors import ModelError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.proof import prove_sites, prove_writers
from conceptbasis.models.loading.load import wrap_model
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.weights import orthogonalise_weights

LAYERS = range(3)

BAD_ROWS = {
    "a shared expert is left out": (
        "qwen2_moe",
        {"like": "qwen2_moe", "shared_expert": None},
        r"mlp_out of layer 0 does not double with its writers",
    ),
    "a norm is left out": (
        "gemma2",
        {"like": "llama"},
        "the stream at layer 0 is not resid_pre",
    ),
    "a bias is left out": (
        "gpt_oss",
        {"like": "gpt_oss", "experts_bias": None},
        r"mlp_out of layer 0 does not double",
    ),
    "a norm that is none": (
        "llama",
        {"like": "llama", "mlp_norm": "mlp.act_fn"},
        "mlp_out of layer 0 has 24 columns",
    ),
    "a writer taken for a norm": (
        "llama",
        {"like": "llama", "attention_norm": "self_attn.o_proj"},
        "self_attn.o_proj does not act on attn_out of layer 0",
    ),
    "experts the wrong way round": (
        "mixtral",
        {"like": "mixtral", "experts_orientation": "in_out"},
        "has shape",
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_row_that_does_not_describe_the_model_is_refused_at_load(name):
    model_type, row, message = BAD_ROWS[name]
    model, tokenizer = make_model(model_type), make_tokenizer()
    with pytest.raises(ModelError, match=message):
        wrap_model(model, tokenizer, name=name, architecture=row)
    assert wrap_model(model, tokenizer, name=name).architecture.n_layers == 3


def test_the_proof_leaves_the_weights_as_they_were():
    for model_type in ("gpt_oss", "qwen2_moe"):
        loaded = make_loaded(model_type)
        before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
        prove_writers(loaded)
        after = loaded.model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_model_that_scales_its_branches_is_refused():
    """Granite multiplies what a writer adds, which no row can say."""
    model = make_model("granite", residual_multiplier=0.5)
    with pytest.raises(ModelError, match="the stream at layer 0 is not") as caught:
        wrap_model(model, make_tokenizer(), name="granite", architecture={"like": "llama"})
    assert "scales its residual branches" in caught.value.fix
    unscaled = make_model("granite", residual_multiplier=1.0)
    wrap_model(unscaled, make_tokenizer(), name="granite", architecture={"like": "llama"})


# Rows of the user's own


OWN_ROWS = {
    "starcoder2": {"like": "llama", "mlp_writer": "mlp.c_proj"},
    "llava": {"like": "llama", "body": "model.language_model"},
}


@pytest.mark.parametrize("model_type", OWN_ROWS)
def test_a_row_of_the_users_own_opens_a_family_outside_the_table(batch, model_type):
    model = make_model(model_type)
    with pytest.raises(ModelError, match=f"unknown model type '{model_type}'") as caught:
        resolve(model)
    assert "key `architecture`" in caught.value.fix
    row = OWN_ROWS[model_type]
    loaded = wrap_model(model, make_tokenizer(), name=model_type, architecture=row)
    r = unit(16, 2)
    with intervene(loaded, [Edit(layer, r) for layer in LAYERS], scope="writers"):
        hooks = capture(loaded, batch.input_ids, batch.attention_mask, layers=[2])[2]
    with orthogonalise_weights(loaded, dict.fromkeys(LAYERS, r)):
        weights = capture(loaded, batch.input_ids, batch.attention_mask, layers=[2])[2]
    torch.testing.assert_close(weights, hooks, rtol=1e-3, atol=1e-4)
    plain = capture(loaded, batch.input_ids, batch.attention_mask, layers=[2])[2]
    assert not torch.allclose(weights, plain, atol=1e-2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"like": "lama"}, "like: 'lama'"),
        ({"atention": "x"}, "unknown field 'atention'"),
        ({"attention": 3}, "attention: 3"),
        ({"attention": None}, "attention: None"),
        ({"attention_norm": ""}, "attention_norm: ''"),
        ({"orientation": "sideways"}, "orientation: 'sideways'"),
        ({"mlp_writer": "mlp.no_such"}, r"blocks\[0\]\.mlp\.no_such"),
        ({"mlp": "ffn"}, r"blocks\[0\]\.ffn"),
        ({"body": "transformer"}, "has no transformer"),
    ],
)
def test_a_row_with_a_mistake_names_it(row, message):
    with pytest.raises(ModelError, match=message):
        wrap_model(make_model("llama"), make_tokenizer(), name="x", architecture=row)


def test_a_broken_stream_is_seen_at_load(models):
    """Negative control of the proof at load: it passes, and fails when a block adds something."""
    loaded = make_loaded("llama")
    prove_sites(loaded)
    handle = loaded.architecture.blocks[1].register_forward_hook(lambda _m, _a, out: out * 1.1)
    try:
        with pytest.raises(ModelError, match="the stream at layer 1"):
            prove_sites(loaded)
    finally:
        handle.remove()
