"""Any sae-lens SAE becomes codes @ W_dec + b_dec in the raw space, or is refused."""

import copy
from dataclasses import replace

import pytest
import scipy.sparse
import torch
from tiny import make_loaded

from conceptbasis.errors import SaeError
from conceptbasis.models.stream.capture import capture, forward_body
from conceptbasis.models.stream.hooks import splice
from conceptbasis.saes.hook_names import parse_hook_name
from conceptbasis.saes.loading import load_sae_folder, load_sae_release
from conceptbasis.saes.sae import SaePlace, import_sae_lens, wrap_sae

D_MODEL, D_SAE = 16, 40
WANTED = SaePlace(D_MODEL, 1, "resid_post", "llama")


@pytest.fixture(scope="module")
def sae_lens():
    return import_sae_lens()


def _sae(sae_lens, kind="StandardSAE", hook_name="blocks.1.hook_resid_post", **options):
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(model_name="llama", hook_name=hook_name)
    config_class = getattr(sae_lens, f"{kind}Config")
    if kind == "TopKSAE":
        options = {"k": 5, **options}
    options = {"d_in": D_MODEL, "d_sae": D_SAE, "metadata": metadata, **options}
    sae = getattr(sae_lens, kind)(config_class(**options))
    generator = torch.Generator().manual_seed(0)
    for parameter in sae.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    if kind == "JumpReLUSAE":
        sae.threshold.data = sae.threshold.data.abs()
    return sae


def _inputs(n=50):
    return 3 + 2 * torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("StandardSAE", {}),
        ("StandardSAE", {"apply_b_dec_to_input": False}),
        ("JumpReLUSAE", {}),
        ("GatedSAE", {}),
        ("TopKSAE", {}),
        ("TopKSAE", {"rescale_acts_by_decoder_norm": True}),
    ],
)
def test_codes_rebuild_the_raw_space(sae_lens, kind, options):
    raw = _sae(sae_lens, kind, **options)
    sae = wrap_sae(raw, WANTED, "x")
    x = _inputs()
    torch.testing.assert_close(sae.W_dec.norm(dim=-1), torch.ones(D_SAE))
    expected = raw.decode(raw.encode(x))
    codes = sae.encode(x)
    torch.testing.assert_close(codes @ sae.W_dec + sae.b_dec, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(sae.reconstruct(x.view(5, 10, -1)).view(50, -1), sae.reconstruct(x))
    sparse = sae.encode_sparse(x)
    assert isinstance(sparse, scipy.sparse.csr_matrix)
    assert sparse.dtype == "float32"
    assert (sparse.toarray() == codes.numpy()).all()
    assert (sae.d_sae, sae.d_model) == (D_SAE, D_MODEL)


def test_chunks_and_empty_input(sae_lens):
    sae = wrap_sae(_sae(sae_lens), WANTED, "x")
    x = _inputs(5000)
    assert sae.encode_sparse(x).shape == (5000, D_SAE)
    assert sae.encode_sparse(x[:0]).shape == (0, D_SAE)
    torch.testing.assert_close(
        torch.from_numpy(sae.encode_sparse(x)[4090:4100].toarray()), sae.encode(x[4090:4100])
    )


def test_folder_round_trip_and_hash(sae_lens, tmp_path):
    raw = _sae(sae_lens, "JumpReLUSAE")
    raw.save_model(tmp_path)
    sae = load_sae_folder(tmp_path, WANTED)
    torch.testing.assert_close(sae.encode(_inputs()), wrap_sae(raw, WANTED, "x").encode(_inputs()))
    assert sae.hash == wrap_sae(raw, WANTED, "y").hash
    other = copy.deepcopy(raw)
    other.b_dec.data[0] += 1e-3
    assert wrap_sae(other, WANTED, "x").hash != sae.hash
    assert sae.trained_on == "llama"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 24}, r"d_in = 16\n.*d_model = 24 of llama"),
        ({"layer": 2}, r"blocks\.1\.hook_resid_post, layer 1 resid_post\n.*layer 2 resid_post"),
        ({"site": "resid_pre"}, r"layer 1 resid_post\n.*layer 1 resid_pre"),
    ],
)
def test_mismatches_name_both_sides(sae_lens, change, message):
    with pytest.raises(SaeError, match=message):
        wrap_sae(_sae(sae_lens), replace(WANTED, **change), "x")


def test_unusable_saes_are_refused(sae_lens, tmp_path):
    with pytest.raises(SaeError, match="norm_scaling_factor is missing"):
        wrap_sae(_sae(sae_lens, normalize_activations="expected_average_only_in"), WANTED, "x")
    with pytest.raises(SaeError, match="off its own reconstruction"):
        wrap_sae(_sae(sae_lens, normalize_activations="layer_norm"), WANTED, "x")
    with pytest.raises(SaeError, match="is not the residual stream"):
        wrap_sae(_sae(sae_lens, hook_name="blocks.1.attn.hook_z.x"), WANTED, "x")
    with pytest.raises(SaeError, match="no SAE folder"):
        load_sae_folder(tmp_path / "nowhere", WANTED)
    with pytest.raises(SaeError, match="no known format"):
        load_sae_folder(tmp_path, WANTED)
    with pytest.raises(SaeError, match="no-such-release/x cannot be loaded"):
        load_sae_release("no-such-release", "x", WANTED)


def test_release_goes_through_sae_lens(sae_lens, monkeypatch):
    monkeypatch.setattr(sae_lens.SAE, "from_pretrained", lambda *_, **__: _sae(sae_lens))
    sae = load_sae_release("some-release", "layer_1", WANTED)
    assert sae.name == "some-release/layer_1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.3.hook_resid_post", (3, "resid_post")),
        ("blocks.11.hook_mlp_out", (11, "mlp_out")),
        ("model.layers.3", (3, "resid_post")),
        ("transformer.h.7", (7, "resid_post")),
        ("model.layers.3.self_attn", (3, "attn_out")),
        ("model.layers.3.mlp", (3, "mlp_out")),
        ("model.layers.3.mlp.gate", None),
        ("embedding", None),
    ],
)
def test_hook_names(name, expected):
    assert parse_hook_name(name) == expected


def test_splicing_equals_running_on_the_reconstruction(sae_lens):
    loaded = make_loaded("llama")
    sae = wrap_sae(_sae(sae_lens), WANTED, "x")
    ids = torch.randint(7, 300, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    plain = capture(loaded, ids, mask, layers=[1])[1]
    with splice(loaded, {1: sae.reconstruct}):
        spliced = capture(loaded, ids, mask, layers=[1])[1]
        final = forward_body(loaded, ids, mask)
    torch.testing.assert_close(spliced, sae.reconstruct(plain))
    assert not torch.allclose(final, forward_body(loaded, ids, mask))
