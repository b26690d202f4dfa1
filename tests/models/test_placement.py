"""Models in parts on disk, in half precision or quantised: measured as they are, edited if safe."""

from importlib.util import find_spec

import pytest
import torch
from tiny import PROMPTS, make_model, make_tokenizer, unit, without

from conceptbasis.errors import ConfigError, InterventionError, ModelError
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.load import load_model
from conceptbasis.models.loading.placement import execution_device, iter_parameters
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.native import end_activations
from conceptbasis.models.stream.weights import orthogonalise_weights, writer_matrices
from conceptbasis.models.text.generation import first_token_logits, generate

LAYERS = range(3)
needs_accelerate = pytest.mark.skipif(
    find_spec("accelerate") is None, reason="the optional package accelerate is not installed"
)
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="the optional package bitsandbytes is not installed"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Saved models: a dense one, a mixture, and one that is wide enough to be quantised."""
    root = tmp_path_factory.mktemp("saved")
    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    for name, changes in (("llama", {}), ("gpt_oss", {}), ("wide", wide)):
        make_model("llama" if name == "wide" else name, **changes).save_pretrained(root / name)
        make_tokenizer().save_pretrained(root / name)
    return root


@pytest.fixture
def parts(folders, tmp_path):
    """The same model in memory, and with its last two blocks on disk."""

    def load(name):
        places = {f"model.layers.{i}": "cpu" if i == 0 else "disk" for i in LAYERS}
        places |= dict.fromkeys(("model.embed_tokens", "model.norm", "lm_head"), "cpu")
        places["model.rotary_emb"] = "cpu"
        placement = Placement(device_map=places, offload_folder=str(tmp_path))
        return load_model(folders / name), load_model(folders / name, placement=placement)

    return load


@needs_accelerate
@pytest.mark.parametrize("name", ["llama", "gpt_oss"])
def test_an_offloaded_model_is_measured_and_hooked_like_one_in_memory(parts, name):
    whole, split = parts(name)
    assert any(p.is_meta for p in split.model.parameters())
    assert split.device == execution_device(split.architecture.blocks[2]) == torch.device("cpu")
    r = unit(16, 1)
    for edits in ([], [Edit(layer, r) for layer in LAYERS]):
        found = []
        for loaded in (whole, split):
            if edits:
                with without(loaded, r), intervene(loaded, edits, scope="writers"):
                    found.append((generate(loaded, PROMPTS, max_new_tokens=4), _ends(loaded)))
            else:
                found.append((generate(loaded, PROMPTS, max_new_tokens=4), _ends(loaded)))
        assert found[0][0] == found[1][0]
        torch.testing.assert_close(found[0][1], found[1][1])
    assert (found[1][1] @ r).abs().max() < 1e-4


def _ends(loaded):
    return end_activations(loaded, PROMPTS)


@needs_accelerate
@pytest.mark.parametrize("name", ["llama", "gpt_oss"])
def test_offloaded_weights_are_read_but_not_edited(parts, name):
    whole, split = parts(name)
    for layer in LAYERS:
        for a, b in zip(writer_matrices(whole, layer), writer_matrices(split, layer), strict=True):
            assert torch.equal(a, b)
    plain = dict(iter_parameters(whole.model))
    assert plain.keys() == dict(whole.model.named_parameters()).keys()
    read = {key: value.detach().clone() for key, value in iter_parameters(split.model)}
    assert read.keys() == plain.keys()
    assert all(torch.equal(read[key], plain[key]) for key in plain)
    with (
        pytest.raises(InterventionError, match="offloaded") as caught,
        orthogonalise_weights(split, {0: unit(16, 1)}),
    ):
        pass
    assert "hooks" in caught.value.fix


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_ablates_to_its_own_rounding(folders, dtype):
    loaded, r = load_model(folders / "llama", dtype=dtype), unit(16, 1)
    assert loaded.model.dtype == getattr(torch, dtype)
    eps = torch.finfo(getattr(torch, dtype)).eps
    ids = torch.arange(3, 20)[None]
    with intervene(loaded, [Edit(layer, r) for layer in LAYERS]):
        edited = capture(loaded, ids, torch.ones_like(ids), layers=LAYERS)
    for layer in LAYERS:
        h = edited[layer].float()
        assert ((h @ r).abs() <= eps * h.norm(dim=-1)).all()
    plain = load_model(folders / "llama")
    full, half = (first_token_logits(m, PROMPTS) for m in (plain, loaded))
    assert (full - half).abs().max() < 0.05 * full.abs().max()
    # Negative control: the direction was there.
    untouched = capture(loaded, ids, torch.ones_like(ids), layers=LAYERS)
    assert all((h.float() @ r).abs().max() > 0.1 for h in untouched.values())
    with intervene(loaded, [Edit(layer, r) for layer in LAYERS], scope="writers"):
        hooks = capture(loaded, ids, torch.ones_like(ids), layers=[2])[2].float()
    with orthogonalise_weights(loaded, dict.fromkeys(LAYERS, r)):
        weights = capture(loaded, ids, torch.ones_like(ids), layers=[2])[2].float()
    assert (hooks - weights).norm() < 4 * eps * hooks.norm()


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_model_is_measured_and_hooked_but_its_weights_are_not_edited(folders, bits):
    plain = load_model(folders / "wide")
    loaded = load_model(folders / "wide", placement=Placement(quantization=bits))
    full, packed = (first_token_logits(m, PROMPTS) for m in (plain, loaded))
    correlation = torch.corrcoef(torch.stack([full.flatten(), packed.flatten()]))[0, 1]
    assert correlation > (0.99 if bits == "8bit" else 0.8)
    assert not torch.allclose(full, packed, atol=1e-5)
    r = unit(64, 1)
    with intervene(loaded, [Edit(layer, r) for layer in LAYERS]):
        assert (end_activations(loaded, PROMPTS) @ r).abs().max() < 1e-3
    assert (end_activations(loaded, PROMPTS) @ r).abs().max() > 1e-2
    with (
        pytest.raises(InterventionError, match="is quantised") as caught,
        orthogonalise_weights(loaded, {0: r}),
    ):
        pass
    assert "hooks" in caught.value.fix
    # The guard reads what the packed layers do.
    for stored, acts in zip(writer_matrices(plain, 0), writer_matrices(loaded, 0), strict=True):
        assert acts.shape == stored.shape
        assert (acts - stored).norm() < (0.02 if bits == "8bit" else 0.2) * stored.norm()


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantisation_without_its_package_is_a_clear_error(folders):
    with pytest.raises(ModelError, match="needs the package bitsandbytes") as caught:
        load_model(folders / "llama", placement=Placement(quantization="4bit"))
    assert "conceptbasis[large]" in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"quantization": "2bit"}, "unknown quantization '2bit'"),
        ({"device_map": "everywhere"}, "unknown device_map 'everywhere'"),
        ({"device_map": {"": "cuda:97"}}, "device 'cuda:97' cannot be used"),
        ({"device_map": {"": 97}}, "device 'cuda:97' cannot be used"),
        ({"device": "cuda:97"}, "device 'cuda:97' cannot be used"),
    ],
)
def test_impossible_placements_are_named(folders, changes, message):
    with pytest.raises((ModelError, ConfigError), match=message):
        load_model(folders / "llama", placement=Placement(**changes))
