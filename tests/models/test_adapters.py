"""An adapter is merged: the model computes what base and adapter did, and edits reach all of it."""

import json
from importlib.util import find_spec

import pytest
import torch
from tiny import PROMPTS, encode_prompts, make_model, make_tokenizer, unit

from conceptbasis.errors import ModelError
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.load import load_model
from conceptbasis.models.stream.weights import iter_residual_writers, orthogonalise_weights
from conceptbasis.models.text.generation import first_token_logits

needs_peft = pytest.mark.skipif(
    find_spec("peft") is None, reason="the optional package peft is not installed"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    make_model("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def adapted(base, tmp_path):
    """A folder with a random LoRA of the base, and what the two give unmerged."""
    import peft

    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["o_proj", "down_proj", "q_proj"])
    model = peft.get_peft_model(make_model("llama"), config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.eval().save_pretrained(tmp_path / "adapter")
    batch = encode_prompts(make_tokenizer(), PROMPTS)
    with torch.no_grad():
        positions = (batch.attention_mask.cumsum(-1) - 1).clamp(min=0)
        logits = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=positions,
        ).logits[:, -1]
    return tmp_path / "adapter", logits


@needs_peft
def test_merged_equals_unmerged_and_nothing_of_the_adapter_is_left(base, adapted):
    folder, expected = adapted
    loaded = load_model(base, adapter=str(folder))
    torch.testing.assert_close(first_token_logits(loaded, PROMPTS), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first_token_logits(load_model(base), PROMPTS), expected, atol=0.1)
    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert not any("lora" in name for name, _ in loaded.model.named_modules())
    assert loaded.name == f"{base} with {folder}"
    r = unit(16, 1)
    with orthogonalise_weights(loaded, dict.fromkeys(range(3), r)):
        for writer in iter_residual_writers(loaded, 1):
            assert (r @ writer.matrix).abs().max() < 1e-5


@needs_peft
def test_unfit_adapters_are_refused(base, adapted, tmp_path):
    folder, _ = adapted
    with pytest.raises(ModelError, match="no adapter could be loaded from nobody/none"):
        load_model(base, adapter="nobody/none")
    with pytest.raises(ModelError, match="is an adapter, not a model") as caught:
        load_model(folder)
    assert "`adapter`" in caught.value.fix
    wide = tmp_path / "wide"
    make_model("llama", hidden_size=32, head_dim=16).save_pretrained(wide)
    make_tokenizer().save_pretrained(wide)
    with pytest.raises(ModelError, match="no adapter could be loaded"):
        load_model(wide, adapter=str(folder))
    deeper = tmp_path / "shallow"
    make_model("llama", num_hidden_layers=4).save_pretrained(deeper)
    make_tokenizer().save_pretrained(deeper)
    with pytest.raises(ModelError, match="missing adapter keys"):
        load_model(deeper, adapter=str(folder))
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = ["no_such_module"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no adapter could be loaded"):
        load_model(base, adapter=str(folder))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors"):
        load_model(base, adapter=str(folder))


@needs_peft
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_an_adapter_is_not_merged_into_quantised_weights(base, adapted):
    with pytest.raises(ModelError, match="on a quantised model"):
        load_model(base, adapter=str(adapted[0]), placement=Placement(quantization="8bit"))


@pytest.mark.skipif(find_spec("peft") is not None, reason="peft is installed")
def test_an_adapter_without_its_package_is_a_clear_error(base, tmp_path):
    with pytest.raises(ModelError, match="needs the package peft") as caught:
        load_model(base, adapter=str(tmp_path))
    assert "conceptbasis[large]" in caught.value.fix
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="is an adapter, not a model"):
        load_model(tmp_path)
