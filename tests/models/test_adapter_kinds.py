"""Every kind of adapter is merged as the adapted model computes, or refused; doctor says the same.

peft by itself adds a change of tied embeddings to embedding and head, once or twice.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_model, make_tokenizer

from conceptbasis.errors import ModelError
from conceptbasis.models.coverage import examine_coverage
from conceptbasis.models.loading import adapters
from conceptbasis.models.loading.load import load_model
from conceptbasis.models.loading.source import Source
from conceptbasis.models.text.template import chat_facts

pytestmark = pytest.mark.skipif(
    find_spec("peft") is None, reason="the optional package peft is not installed"
)

IDS = torch.tensor([[9, 10, 11, 40, 50]])
EMBED, HEAD = ["embed_tokens"], ["lm_head"]
TARGETS = {
    "plain layers": {"target_modules": ["o_proj", "down_proj"]},
    "embedding": {"target_modules": EMBED},
    "embedding, tied": {"target_modules": EMBED, "ensure_weight_tying": True},
    "head": {"target_modules": HEAD},
    "head, tied": {"target_modules": HEAD, "ensure_weight_tying": True},
    "both": {"target_modules": EMBED + HEAD},
    "both, tied": {"target_modules": [*EMBED, *HEAD, "o_proj"], "ensure_weight_tying": True},
    "copied embedding": {"target_modules": ["o_proj"], "modules_to_save": EMBED},
    "copied embedding, tied": {
        "target_modules": ["o_proj"],
        "modules_to_save": EMBED,
        "ensure_weight_tying": True,
    },
    "copied head": {"target_modules": ["o_proj"], "modules_to_save": HEAD},
    "embedding and copied head": {"target_modules": EMBED, "modules_to_save": HEAD},
    "rows of the embedding": {
        "target_modules": ["o_proj"],
        "trainable_token_indices": {"embed_tokens": [9, 10]},
    },
    "DoRA": {"target_modules": ["o_proj", *EMBED], "use_dora": True},
    "biases": {"target_modules": ["o_proj"], "bias": "all"},
}
TIED_AFTER = {
    "plain layers",
    "copied embedding, tied",
    "rows of the embedding",
    "biases",
}


def log_probs(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits.float().log_softmax(-1)


def save_base(folder, **changes):
    make_model("llama", **changes).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def save_adapter(base, folder, config, scale=0.3):
    """A random adapter of a base, and what the two compute unmerged."""
    import peft

    from conceptbasis.models.loading.fetching import Placement, load_weights

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(load_weights(Source(str(base)), Placement()), config)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
        model.eval().save_pretrained(folder)
    return log_probs(model)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", TARGETS)
def test_merged_computes_what_the_adapted_model_computes(tmp_path, kind, tied):
    import peft

    base = save_base(tmp_path / "base", tie_word_embeddings=tied)
    config = peft.LoraConfig(r=4, lora_alpha=8, **TARGETS[kind])
    expected = save_adapter(base, tmp_path / "adapter", config)
    loaded = load_model(base, adapter=str(tmp_path / "adapter"))
    torch.testing.assert_close(log_probs(loaded.model), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(log_probs(load_model(base).model), expected, atol=0.05)
    still_tied = tied and kind in TIED_AFTER
    assert loaded.architecture.tied is still_tied
    assert loaded.model.config.tie_word_embeddings is still_tied
    told = examine_coverage(Source(str(base)), adapter=Source(str(tmp_path / "adapter")))
    assert told.tied is still_tied
    assert told.size.n_parameters == sum(p.numel() for p in loaded.model.parameters())


def test_the_tokenizer_that_was_saved_with_an_adapter_is_used(tmp_path):
    import peft

    base = save_base(tmp_path / "base")
    for name in ("with", "without"):
        save_adapter(base, tmp_path / name, peft.LoraConfig(target_modules=["o_proj"]))
    own = make_tokenizer()
    own.add_tokens(["<extra>"])
    own.chat_template = own.chat_template.replace("<|assistant|>", "<|answer|>")
    own.save_pretrained(tmp_path / "with")
    source = Source(str(base))
    for name, start in (("with", "<|answer|>"), ("without", "<|assistant|>")):
        loaded = load_model(base, adapter=str(tmp_path / name))
        assert start in loaded.tokenizer.chat_template
        assert ("<extra>" in loaded.tokenizer.get_vocab()) is (name == "with")
        told = examine_coverage(source, adapter=Source(str(tmp_path / name)))
        assert told.chat == chat_facts(loaded.tokenizer)


def test_an_adapter_of_a_larger_vocabulary_says_what_its_base_must_be(tmp_path):
    import peft

    base = save_base(tmp_path / "base")
    larger = save_base(tmp_path / "larger", vocab_size=322)
    config = peft.LoraConfig(target_modules=["o_proj"], modules_to_save=EMBED + HEAD)
    expected = save_adapter(larger, tmp_path / "adapter", config)
    with pytest.raises(ModelError, match="size mismatch") as caught:
        load_model(base, adapter=str(tmp_path / "adapter"))
    assert "resize_token_embeddings" in caught.value.fix
    loaded = load_model(larger, adapter=str(tmp_path / "adapter"))
    torch.testing.assert_close(log_probs(loaded.model), expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_merged_is_refused_by_loading_and_by_doctor(tmp_path):
    import peft

    base = save_base(tmp_path / "base")
    unmergeable = {
        "PROMPT_TUNING": peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
        "aLoRA does not support": peft.LoraConfig(
            target_modules=["o_proj"], alora_invocation_tokens=[3], task_type="CAUSAL_LM"
        ),
    }
    for said, config in unmergeable.items():
        folder = tmp_path / config.peft_type.value
        save_adapter(base, folder, config)
        with pytest.raises(ModelError, match=said):
            load_model(base, adapter=str(folder))
        with pytest.raises(ModelError, match=said):
            examine_coverage(Source(str(base)), adapter=Source(str(folder)))
    folder = tmp_path / "fitting"
    save_adapter(base, folder, peft.LoraConfig(target_modules=["o_proj"]))
    with pytest.raises(ModelError, match="on a quantised model"):
        examine_coverage(Source(str(base)), adapter=Source(str(folder)), quantization="8bit")
    deeper = save_base(tmp_path / "deeper", num_hidden_layers=4)
    with pytest.raises(ModelError, match="missing adapter keys"):
        examine_coverage(Source(str(deeper)), adapter=Source(str(folder)))


def test_a_merge_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    """As peft's own merge of tied embeddings does."""
    import peft

    base = save_base(tmp_path / "base", tie_word_embeddings=True)
    save_adapter(base, tmp_path / "adapter", peft.LoraConfig(target_modules=EMBED))
    monkeypatch.setattr(adapters, "_untie", lambda base: None)
    with pytest.raises(ModelError, match=r"moves a logit by .* from the adapted model"):
        load_model(base, adapter=str(tmp_path / "adapter"))


@pytest.mark.parametrize(("scale", "warns"), [(0.0003, True), (0.5, False)])
def test_bfloat16_says_what_rounding_takes_of_a_small_adapter(tmp_path, scale, warns):
    import peft

    base = save_base(tmp_path / "base")
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["o_proj"])
    save_adapter(base, tmp_path / "adapter", config, scale)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        narrow = load_model(base, adapter=str(tmp_path / "adapter"), dtype="bfloat16")
        load_model(base, adapter=str(tmp_path / "adapter"))
    said = [str(w.message) for w in caught if "of its change to rounding" in str(w.message)]
    assert len(said) == warns
    plain = load_model(base, dtype="bfloat16").model.state_dict()
    name = "model.layers.0.self_attn.o_proj"
    merged = narrow.model.state_dict()[f"{name}.weight"]
    parts = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    a, b = (parts[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    change = b @ a * 2
    assert merged.dtype == torch.bfloat16
    # One rounding of the float32 sum, not two.
    assert torch.equal(merged, (plain[f"{name}.weight"].float() + change).to(torch.bfloat16))
