"""SAEs of every published format equal their own code by hand, and splice into the raw stream."""

import json
import shutil

import pytest
import torch
from made_up_saes import (
    D_MODEL,
    D_SAE,
    FOLDERS,
    LAYER,
    dictionary_learning,
    gemma_scope,
    llama_scope,
    qwen_scope,
    sae_lens,
    sparsify,
    weights,
)
from tiny import make_loaded

from conceptbasis.errors import SaeError
from conceptbasis.models.stream.capture import capture, forward_body
from conceptbasis.models.stream.hooks import splice
from conceptbasis.saes.fit import check_scale, fit_warnings
from conceptbasis.saes.loading import load_sae_folder, load_sae_release
from conceptbasis.saes.sae import SaePlace

WANTED = SaePlace(D_MODEL, LAYER, "resid_post", "llama")
SCALE = 0.25


def inputs(n=60):
    return 2 * torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(1))


def assert_equals_by_hand(sae, made_up):
    """Codes times decoder norm, unit rows, and the reconstruction of the raw residual."""
    x = inputs()
    norms = made_up.W_dec.norm(dim=-1)
    torch.testing.assert_close(sae.W_dec, made_up.W_dec / norms[:, None], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.encode(x), made_up.encode(x) * norms, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sae.reconstruct(x), made_up.reconstruct(x), rtol=1e-3, atol=1e-3)
    assert 0.02 < float((sae.encode(x) != 0).float().mean()) < 0.9


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_equals_its_own_code_by_hand(tmp_path, name):
    made_up = FOLDERS[name](tmp_path, weights())
    assert_equals_by_hand(load_sae_folder(made_up.folder, WANTED), made_up)


@pytest.mark.parametrize("name", FOLDERS)
def test_decoder_rows_are_directions_of_the_stream(tmp_path, name):
    """Splicing runs the model on what the folder's own code rebuilds; taking one feature out of the
    codes moves the stream along its row by its code."""
    made_up = FOLDERS[name](tmp_path, weights())
    sae = load_sae_folder(made_up.folder, WANTED)
    loaded = make_loaded("llama")
    ids = torch.randint(7, 300, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    plain = capture(loaded, ids, mask, layers=[LAYER])[LAYER]
    with splice(loaded, {LAYER: made_up.reconstruct}):
        by_hand = forward_body(loaded, ids, mask)
    with splice(loaded, {LAYER: sae.reconstruct}):
        torch.testing.assert_close(forward_body(loaded, ids, mask), by_hand, rtol=1e-3, atol=1e-3)
    codes = sae.encode(plain.reshape(-1, D_MODEL))
    feature = int((codes != 0).sum(0).argmax())

    def without(x):
        codes = sae.encode(x.reshape(-1, D_MODEL))
        codes[:, feature] = 0
        return (codes @ sae.W_dec + sae.b_dec).view(x.shape)

    with splice(loaded, {LAYER: without}):
        less = capture(loaded, ids, mask, layers=[LAYER])[LAYER].reshape(-1, D_MODEL)
    moved = made_up.reconstruct(plain.reshape(-1, D_MODEL)) - less
    expected = codes[:, feature, None] * sae.W_dec[feature]
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3)


RELEASES = {
    "sae_lens": (lambda root: sae_lens(root, weights(), "JumpReLUSAE"), None),
    "gemma_2": (lambda root: gemma_scope(root, weights()), "org/gemma-scope-2b-pt-res"),
    "sparsify": (lambda root: sparsify(root, weights()), None),
    "dictionary_learning_1": (
        lambda root: dictionary_learning(root, weights(), "MatryoshkaBatchTopKSAE"),
        None,
    ),
    "llama_scope": (lambda root: llama_scope(root, weights(), scale=SCALE), None),
    "qwen_scope": (
        lambda root: qwen_scope(root, weights()),
        "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50",
    ),
}


@pytest.mark.parametrize("name", RELEASES)
def test_a_repository_goes_through_the_loader_of_its_format(hub, monkeypatch, name):
    from sae_lens.loading import pretrained_sae_loaders as loaders

    build, repository = RELEASES[name]
    made_up = build(hub)
    if name in ("gemma_2", "qwen_scope"):  # these read sizes from names; the names are made up
        change = {"d_in": D_MODEL, "d_sae": D_SAE, "activation_fn_kwargs": {"k": 5}}
        monkeypatch.setattr(
            "sae_lens.saes.sae.get_config_overrides", lambda *_: dict(change), raising=True
        )
    sae_id = (
        f"layer{LAYER}.sae.pt" if name == "qwen_scope" else str(made_up.folder.relative_to(hub))
    )
    assert name in loaders.NAMED_PRETRAINED_SAE_LOADERS
    sae = load_sae_release(
        repository or "org/repository",
        sae_id,
        WANTED,
        format=name,
        activation_scale=SCALE if name == "llama_scope" else None,
    )
    assert_equals_by_hand(sae, made_up)


def test_a_scale_that_is_not_folded_is_refused_before_any_work(hub):
    llama_scope(hub, weights(), scale=SCALE)
    with pytest.raises(SaeError, match=r"norm_scaling_factor is missing[\s\S]*activation_scale"):
        load_sae_release("org/repository", "Llama3_1-8B-Base-L1R-8x", WANTED, format="llama_scope")


def test_sae_lens_reads_sparsify_otherwise(tmp_path):
    """Why there is a reader of our own; when this fails, the reader may go."""
    from sae_lens.loading.pretrained_sae_loaders import sparsify_disk_loader

    made_up = sparsify(tmp_path, weights())
    config, stored = sparsify_disk_loader(made_up.folder, "cpu", {"dtype": "float32"})
    assert stored["W_dec"].shape == (D_MODEL, D_SAE)
    assert config["apply_b_dec_to_input"] is False


@pytest.mark.parametrize("setting", ["transcode", "skip_connection", "signed"])
def test_coders_that_rebuild_something_else_are_refused(tmp_path, setting):
    made_up = sparsify(tmp_path, weights(), **{setting: True})
    with pytest.raises(SaeError, match=setting):
        load_sae_folder(made_up.folder, WANTED)


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(SaeError, match=r"no known format: it is empty[\s\S]*params\.npz"):
        load_sae_folder(tmp_path, WANTED)
    made_up = dictionary_learning(tmp_path / "a", weights(), "AutoEncoder")
    config = json.loads((made_up.folder / "config.json").read_text())
    config["trainer"]["dict_class"] = "CrossCoder"
    (made_up.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SaeError, match="is a CrossCoder"):
        load_sae_folder(made_up.folder, WANTED)
    config["trainer"]["dict_class"] = "GatedAutoEncoder"
    (made_up.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SaeError, match="lacks the weights b_gate"):
        load_sae_folder(made_up.folder, WANTED)
    made_up = gemma_scope(tmp_path / "b", weights())
    moved = tmp_path / "b" / "layer_2"
    shutil.move(made_up.folder, moved)
    with pytest.raises(SaeError, match=r"blocks\.2\.hook_resid_post"):
        load_sae_folder(moved, WANTED)
    with pytest.raises(SaeError, match="format is 'zip'"):
        load_sae_release("org/repository", "x", WANTED, format="zip")


def rebuilding(x):
    """Weights that rebuild activations of mean norm √d from their own directions, and lose small
    ones: a feature fires above 0.2."""
    basis = torch.linalg.svd(x, full_matrices=False).Vh
    rows = torch.cat([basis, -basis, torch.full((D_SAE - 2 * D_MODEL, D_MODEL), 1e-3)])
    return {
        "W_enc": rows.T.contiguous(),
        "W_dec": rows,
        "b_enc": torch.full((D_SAE,), -0.2),
        "b_dec": torch.zeros(D_MODEL),
        "threshold": torch.full((D_SAE,), 0.2),
    }


def test_a_scale_that_nobody_names_is_found_and_refused(tmp_path):
    """An SAE of activations with mean norm √d, on residuals of mean norm 0.3."""
    x = inputs(400)
    x = 0.3 * x / x.norm(dim=-1).mean()
    scale = D_MODEL**0.5 / float(x.norm(dim=-1).mean())
    folder = gemma_scope(tmp_path, rebuilding(x)).folder
    sae = load_sae_folder(folder, WANTED)
    with pytest.raises(SaeError, match=r"set saes\.activation_scale"):
        check_scale({LAYER: sae}, {LAYER: x})
    check_scale({LAYER: sae}, {LAYER: x * scale})  # the control: inputs as it was trained on
    folded = load_sae_folder(folder, WANTED, activation_scale=scale)
    check_scale({LAYER: folded}, {LAYER: x})
    torch.testing.assert_close(
        folded.reconstruct(x), sae.reconstruct(x * scale) / scale, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("trained_on", "name", "said"),
    [
        ("gemma-2-2b", "google/gemma-2-2b", None),
        ("google/gemma-3-1b-pt", "google/gemma-3-1b-it", "another variant"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", "another variant"),
        ("Qwen/Qwen3-1.7B-Base", "Qwen/Qwen3-1.7B", "another variant"),
        ("gemma-2-2b", "google/gemma-2-9b-it", "not on google/gemma-2-9b-it"),
        ("gpt2-small", "EleutherAI/pythia-70m", "not on"),
    ],
)
def test_another_model_is_named(tmp_path, trained_on, name, said):
    from dataclasses import replace

    sae = load_sae_folder(gemma_scope(tmp_path, weights()).folder, WANTED)
    saes = {LAYER: replace(sae, trained_on=trained_on)}
    lines = fit_warnings(make_loaded("llama"), saes, ["a museum"], name)
    named = [line for line in lines if line.startswith("model:")]
    assert len(named) == (said is not None)
    assert said is None or said in named[0]


def test_bos_and_context_length_are_named(tmp_path):
    from dataclasses import replace

    loaded = make_loaded("llama")
    sae = load_sae_folder(gemma_scope(tmp_path, weights()).folder, WANTED)
    chat = [[{"role": "user", "content": "salt and bread " * 5}]]
    fitting_one = replace(sae, trained_on="llama", prepend_bos=True, context_size=100)
    assert fit_warnings(loaded, {LAYER: fitting_one}, chat, "llama") == []
    other = replace(fitting_one, prepend_bos=False, context_size=8)
    lines = fit_warnings(loaded, {LAYER: other}, chat, "llama")
    assert [line.partition(":")[0] for line in lines] == ["prepend-BOS", "context length"]
    unknown = replace(sae, trained_on=None, prepend_bos=None, context_size=None)
    assert fit_warnings(loaded, {LAYER: unknown}, chat, "llama") == []
