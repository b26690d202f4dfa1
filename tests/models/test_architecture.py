"""The table fits every model type, and unknown types are refused with directions."""

import pytest
import torch
from tiny import make_loaded, make_model

from conceptbasis.errors import ModelError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.table import ARCHITECTURES


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_row_binds_every_writer(models, model_type):
    architecture = models[model_type].architecture
    assert architecture.n_layers == 3
    assert architecture.d_model == 16
    for layer in range(3):
        kinds = [slot.kind for slot in architecture.writers(layer)]
        assert kinds[0] == "attention"
        assert kinds[1:] in (["mlp"], ["expert"], ["expert", "shared_expert"])
    assert architecture.final_norm is not None


def test_mixed_dense_and_expert_layers(models):
    architecture = models["qwen3_moe"].architecture
    kinds = [[slot.kind for slot in architecture.writers(layer)][1] for layer in range(3)]
    assert kinds == ["expert", "mlp", "expert"]


def test_post_norm_and_orientation_come_from_the_table(models):
    flagged = {name for name, loaded in models.items() if loaded.architecture.post_norm}
    assert flagged == {"gemma2", "gemma3", "gemma3_text", "olmo2", "olmo3"}
    assert next(models["gpt2"].architecture.writers(0)).orientation == "in_out"
    assert models["gpt2"].architecture.tied
    assert not models["llama"].architecture.tied


def test_unknown_type_prints_the_module_tree():
    with pytest.raises(ModelError) as caught:
        make_loaded("starcoder2")
    assert "starcoder2" in caught.value.what
    assert "layers: ModuleList" in caught.value.what
    assert "ARCHITECTURES" in caught.value.fix


def test_wrong_shape_is_refused_at_load():
    model = make_model("mixtral")
    experts = model.model.layers[1].mlp.experts
    experts.down_proj = torch.nn.Parameter(experts.down_proj.transpose(1, 2).contiguous())
    with pytest.raises(ModelError, match=r"mlp\.experts\.down_proj has shape \(4, 24, 16\)"):
        resolve(model)


def test_missing_path_is_refused_at_load():
    model = make_model("llama")
    del model.model.layers[2].self_attn.o_proj
    with pytest.raises(ModelError, match=r"blocks\[2\]\.self_attn\.o_proj"):
        resolve(model)
