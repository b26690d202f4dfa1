"""A LoRA on the untouched target computes what our edit does."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file
from same import assert_differ, assert_same, make_edit, outputs, saved, under, wrong

from conceptbasis.edits.exports import Base, adapter_of, export_adapter
from conceptbasis.edits.intervention import apply_intervention
from conceptbasis.errors import InterventionError
from conceptbasis.models.loading.load import load_model

needs_peft = pytest.mark.skipif(
    find_spec("peft") is None, reason="peft, of the extra `large`, is not installed"
)
DENSE = ["llama", "gpt2", "gpt_neox", "qwen2", "qwen3", "smollm3", "phi3", "gemma", "qwen2_vl"]


def export(loaded, edit, folder, base="org/base"):
    export_adapter(adapter_of(loaded, edit), folder, "a card", Base(base))
    return folder


def adapted(base, folder):
    """The untouched model with the adapter, as a user of peft loads both."""
    from peft import PeftModel

    model = load_model(base).model
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return PeftModel.from_pretrained(model, str(folder)).eval()


@needs_peft
@pytest.mark.parametrize("model_type", DENSE)
def test_peft_gives_the_logits_of_our_edit(tmp_path, model_type):
    loaded = saved(tmp_path / "base", model_type)
    plain, edit = outputs(loaded.model, loaded.tokenizer), make_edit()
    model = adapted(tmp_path / "base", export(loaded, edit, tmp_path / "lora"))
    expected = under(loaded, edit)
    found = outputs(model, loaded.tokenizer)
    assert_same(found, expected)
    assert_differ(found, plain)
    with model.disable_adapter():
        assert_same(outputs(model, loaded.tokenizer), plain, atol=0)
    assert_same(outputs(model.merge_and_unload(), loaded.tokenizer), expected)
    other = adapted(tmp_path / "base", export(loaded, wrong(edit), tmp_path / "other"))
    assert_differ(outputs(other, loaded.tokenizer), expected)


@needs_peft
@pytest.mark.parametrize(
    ("model_type", "edit"),
    [
        ("llama", make_edit(gamma=2.0)),
        ("llama", make_edit(gamma=-0.5)),
        ("llama", make_edit("ablate")),
        ("mixtral", make_edit(which="attention")),
        ("deepseek_v3", make_edit(which="attention")),
    ],
)
def test_every_edit_of_matrices_goes(tmp_path, model_type, edit):
    loaded = saved(tmp_path / "base", model_type)
    model = adapted(tmp_path / "base", export(loaded, edit, tmp_path / "lora"))
    found = outputs(model, loaded.tokenizer)
    assert_same(found, under(loaded, edit))
    assert_differ(found, outputs(loaded.model, loaded.tokenizer))


@needs_peft
def test_tied_embeddings_are_left_alone_also_when_it_is_merged(tmp_path):
    loaded = saved(tmp_path / "base", "llama", tie_word_embeddings=True)
    edit = make_edit()
    expected = under(loaded, edit)
    model = adapted(tmp_path / "base", export(loaded, edit, tmp_path / "lora"))
    assert_same(outputs(model, loaded.tokenizer), expected)
    merged = model.merge_and_unload()
    assert_same(outputs(merged, loaded.tokenizer), expected)
    assert torch.equal(merged.lm_head.weight, loaded.model.lm_head.weight)
    assert_differ(expected, outputs(loaded.model, loaded.tokenizer))


@needs_peft
def test_our_own_loader_merges_it(tmp_path):
    loaded = saved(tmp_path / "base", "llama")
    folder = export(loaded, make_edit(), tmp_path / "lora", base=None)
    merged = load_model(tmp_path / "base", adapter=str(folder))
    found = outputs(merged.model, loaded.tokenizer)
    assert_same(found, under(loaded, make_edit()))
    assert_differ(found, outputs(loaded.model, loaded.tokenizer))


def test_the_files_hold_the_edit_without_peft(tmp_path):
    """B A is what our edit takes from each matrix, and b_B what it takes from each bias."""
    loaded = saved(tmp_path / "base", "gpt2")
    edit = make_edit(gamma=1.5)
    folder = export(loaded, edit, tmp_path / "lora")
    tensors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["lora_alpha"] / config["r"] == 1
    assert (config["fan_in_fan_out"], config["lora_bias"]) == (True, True)
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert len(tensors) == 3 * len(config["target_modules"]) == 12
    before = {name: p.clone() for name, p in loaded.model.named_parameters()}
    with apply_intervention(loaded, edit):
        for name in config["target_modules"]:
            a, b, bias = (
                tensors[f"base_model.model.{name}.{part}"]
                for part in ("lora_A.weight", "lora_B.weight", "lora_B.bias")
            )
            now = loaded.model.get_submodule(name)
            change = now.weight - before[f"{name}.weight"]
            assert float(change.norm()) > 0.1
            torch.testing.assert_close(change.T, b @ a, rtol=0, atol=1e-6)
            torch.testing.assert_close(now.bias - before[f"{name}.bias"], bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("model_type", "changes", "why"),
    [
        ("mixtral", {}, "4 experts are one parameter of three axes"),
        ("qwen2_moe", {}, "experts"),
        ("gpt_neox", {"attention_bias": False}, "some have a bias and some have none"),
        ("gemma2", {}, "followed by a norm"),
    ],
)
def test_what_no_lora_reaches_is_refused(tmp_path, model_type, changes, why):
    loaded = saved(tmp_path / "base", model_type, **changes)
    with pytest.raises(InterventionError, match=why):
        adapter_of(loaded, make_edit())


def test_layers_without_experts_of_a_mixture_go(tmp_path):
    """The control of the refusal: it is the experts, and not the family."""
    loaded = saved(tmp_path / "base", "deepseek_v3")
    adapter = adapter_of(loaded, make_edit().restrict([0]))
    assert len(adapter.modules) == 2
