"""An SAE of another site than the residual stream is refused, wherever its site is stated."""

import json
import os
import shutil

import pytest
from made_up_saes import D_MODEL, LAYER, dictionary_learning, gemma_scope, sparsify, weights
from test_sae_formats import WANTED

from conceptbasis.errors import SaeError
from conceptbasis.saes.loading import load_sae_folder, load_sae_release


def dictionary(root):
    return dictionary_learning(root, weights(), "AutoEncoderTopK")


def gemma(root):
    return gemma_scope(root, weights())


def gemma_2(root):
    return gemma_scope(root, weights(), second=True)


def placed(tmp_path, made_up, place):
    """The made-up SAE's files at another place."""
    shutil.copytree(made_up.folder, tmp_path / "x" / place)
    return tmp_path / "x" / place


def refused(folder, said):
    with pytest.raises(SaeError, match=said) as caught:
        load_sae_folder(folder, WANTED)
    assert "the residual stream" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        f"layers.{LAYER}.mlp",
        f"layers.{LAYER}.self_attn",
        f"layers.{LAYER}.mlp.down_proj",
        f"layers.{LAYER}.input_layernorm",
        f"h.{LAYER}.attn",
        f"transformer.h.{LAYER}.mlp",
        "embed_tokens",
    ],
)
def test_sparsify_states_the_hook_point_in_the_folder(tmp_path, name):
    refused(placed(tmp_path, sparsify(tmp_path, weights()), name), f"{name}.*not the residual")


@pytest.mark.parametrize("name", [f"layers.{LAYER}", f"h.{LAYER}", f"layer_{LAYER:02d}", "mine"])
def test_sparsify_of_the_stream_and_of_a_folder_that_states_nothing(tmp_path, name):
    load_sae_folder(placed(tmp_path, sparsify(tmp_path, weights()), name), WANTED)


@pytest.mark.parametrize("mode", ["input", "transcode"])
def test_sparsify_states_what_is_hooked_in_its_training(tmp_path, mode):
    folder = sparsify(tmp_path, weights()).folder
    run = {"hookpoints": [folder.name], "hook_mode": mode, "model": "org/some-model"}
    (tmp_path / "config.json").write_text(json.dumps(run))
    refused(folder, f"hook_mode {mode}")
    (tmp_path / "config.json").write_text(json.dumps(run | {"hook_mode": "output"}))
    assert load_sae_folder(folder, WANTED).trained_on == "org/some-model"


def test_sparsify_folders_of_one_part_and_the_name_above(tmp_path, monkeypatch):
    made_up = sparsify(tmp_path / "my-experiments", weights())
    assert load_sae_folder(made_up.folder, WANTED).trained_on is None
    monkeypatch.chdir(made_up.folder.parent)
    assert load_sae_folder(made_up.folder.name, WANTED).layer == LAYER
    # The configuration of a model above says nothing of the SAE, whatever it holds.
    (made_up.folder.parent / "config.json").write_text('{"model": "x", "model_type": "llama"}')
    assert load_sae_folder(made_up.folder.name, WANTED).trained_on is None
    monkeypatch.chdir(made_up.folder)
    assert load_sae_folder(".", WANTED).layer == LAYER
    os.rename(made_up.folder, made_up.folder.parent / f"layers.{LAYER + 1}")
    monkeypatch.chdir(made_up.folder.parent)
    refused(f"layers.{LAYER + 1}", rf"blocks\.{LAYER + 1}\.hook_resid_post")


@pytest.mark.parametrize(
    ("trainer", "buffer", "said"),
    [
        ({"submodule_name": "mlp_out_layer_1"}, {}, "mlp_out_layer_1"),
        ({"submodule_name": "attention_1"}, {}, "attention_1"),
        ({"submodule_name": "model.layers.1.mlp"}, {}, "model.layers.1.mlp"),
        ({"submodule_name": "resid_pre_layer_1"}, {}, "resid_pre"),
        ({"submodule_name": "ff_out"}, {}, "ff_out"),
        ({}, {"io": "in"}, "an input to"),
        ({"submodule_name": "x"}, {"io": "in_and_out"}, "an input to x"),
    ],
)
def test_dictionary_learning_states_the_submodule(tmp_path, trainer, buffer, said):
    folder = dictionary(tmp_path).folder
    config = json.loads((folder / "config.json").read_text())
    config["trainer"] |= trainer
    config["buffer"] |= buffer
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, said)


@pytest.mark.parametrize("name", ["resid_post_layer_1", "model.layers.1", "my own hook", None])
def test_dictionary_learning_of_the_stream(tmp_path, name):
    folder = dictionary(tmp_path).folder
    config = json.loads((folder / "config.json").read_text())
    config["trainer"]["submodule_name"] = name
    config["buffer"]["io"] = "out"
    (folder / "config.json").write_text(json.dumps(config))
    load_sae_folder(folder, WANTED)


PLACES = [
    (dictionary, "mlp_out_layer1/10_32768", "mlp_out_layer1"),
    (dictionary, "attn_out_layer_1/trainer_0", "attn_out_layer_1"),
    (gemma, "gemma-scope-2b-pt-mlp/layer_1/width_16k/average_l0_71", "gemma-scope-2b-pt-mlp"),
    (gemma, "gemma-scope-9b-it-att-canonical/layer_1/width_16k/canonical", "attention"),
    (gemma, "models--google--gemma-scope-2b-pt-transcoders/snapshots/a1/layer_1", "transcoder"),
    (gemma, "embedding/width_4k/average_l0_6", "embedding"),
    (gemma_2, "mlp_out/layer_1_width_16k_l0_small", "mlp_out"),
    (gemma_2, "attn_out_all/layer_1_width_16k_l0_small", "attn_out"),
    (gemma_2, "transcoder_all/layer_1_width_16k_l0_small_affine", "transcoder"),
    (gemma, "layer_3/width_16k/average_l0_71", r"blocks\.3\.hook_resid_post"),
]


@pytest.mark.parametrize(("build", "place", "said"), PLACES)
def test_folders_and_repositories_state_the_site(tmp_path, build, place, said):
    refused(placed(tmp_path, build(tmp_path), place), said)


FITTING = [
    (dictionary, "resid_out_layer1/10_32768"),
    (gemma, "gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_71"),
    (gemma, "models--google--gemma-scope-2b-pt-res-canonical/snapshots/a1/layer_1"),
    (gemma_2, "gemma-scope-2-1b-it/resid_post_all/layer_1_width_16k_l0_small"),
    # Folders of the user's own.
    (gemma, "layer3-tests/mlp/sae"),
    (gemma, "layer3"),
    (gemma, "layer_3/attn_out/my-sae"),
    (gemma_2, "transcoder/my-sae"),
    (sparsify, "mlp/layer3/layers.1"),
    (dictionary, "layer3/attn_out_layer_5/mine/sae"),
]


@pytest.mark.parametrize(("build", "place"), FITTING)
def test_the_users_own_folders_are_no_evidence(tmp_path, build, place):
    made_up = sparsify(tmp_path, weights()) if build is sparsify else build(tmp_path)
    load_sae_folder(placed(tmp_path, made_up, place), WANTED)


HINTS = [
    (dictionary, "pythia-70m/embed/10_32768", "embedding"),
    (dictionary, "saebench/mlp_out_layer_1_trainer_0", "mlp_out_layer_1"),
    (gemma_2, "gemma-scope-2-1b-it/clt/width_262k_l0_big_affine", "transcoder"),
    (gemma_2, "crosscoder/width_65k_l0_medium", "transcoder"),
    (gemma_2, "x/layer_16_22_31_40_width_65k_l0_medium", "crosscoder of several layers"),
]


def stating(build, tmp_path):
    """An SAE whose configuration says that it is of the stream."""
    made_up = build(tmp_path)
    path = made_up.folder / "config.json"
    if build is gemma_2:
        path.write_text(json.dumps({"hf_hook_point_in": f"model.layers.{LAYER}.output"}))
    else:
        config = json.loads(path.read_text())
        config["trainer"]["submodule_name"] = f"resid_post_layer_{LAYER}"
        path.write_text(json.dumps(config))
    return made_up


@pytest.mark.parametrize(("build", "place", "said"), HINTS)
def test_a_folder_that_only_hints_counts_where_the_configuration_says_nothing(
    tmp_path, build, place, said
):
    refused(placed(tmp_path / "silent", build(tmp_path / "a"), place), said)
    load_sae_folder(placed(tmp_path / "stated", stating(build, tmp_path / "b"), place), WANTED)


@pytest.mark.parametrize(
    ("build", "place"),
    [
        (dictionary, "embed/my-sae"),
        (dictionary, "embeddings/10_32768"),
        (dictionary, "resid_post_layer_1_trainer_0"),
        (gemma_2, "clt/my-sae"),
        (gemma_2, "my-crosscoder/width_65k"),
        (gemma_2, "layer_1_width_16k_l0_small"),
    ],
)
def test_other_folders_hint_at_nothing(tmp_path, build, place):
    load_sae_folder(placed(tmp_path, build(tmp_path), place), WANTED)


def test_a_byte_order_mark_hides_no_configuration(tmp_path):
    folder = sparsify(tmp_path, weights()).folder
    run = json.dumps({"hookpoints": [folder.name], "hook_mode": "input", "model": "m"})
    (tmp_path / "config.json").write_text(run, encoding="utf-8-sig")
    refused(folder, "hook_mode input")


@pytest.mark.parametrize(
    ("said", "config"),
    [
        ("self_attn.o_proj.input", {"hf_hook_point_in": "model.layers.1.self_attn.o_proj.input"}),
        (
            "layers.1.output to model.layers.3.output",
            {
                "hf_hook_point_in": "model.layers.1.output",
                "hf_hook_point_out": "model.layers.3.output",
            },
        ),
        (
            "pre_feedforward_layernorm.output to",
            {
                "hf_hook_point_in": "model.layers.1.pre_feedforward_layernorm.output",
                "hf_hook_point_out": "model.layers.1.post_feedforward_layernorm.output",
            },
        ),
        ("layers.3.output", {"hf_hook_point_in": "model.layers.3.output"}),
        (None, {"hf_hook_point_in": "model.layers.1.output", "hf_hook_point_out": None}),
        (
            None,
            {
                "hf_hook_point_in": "language_model.model.layers.1.output",
                "hf_hook_point_out": "language_model.model.layers.1.output",
            },
        ),
    ],
)
def test_gemma_scope_2_states_its_hooks_in_its_configuration(tmp_path, said, config):
    folder = placed(tmp_path, gemma_2(tmp_path), "sae")
    (folder / "config.json").write_text(json.dumps(config))
    if said is None:
        load_sae_folder(folder, WANTED)
    else:
        refused(folder, said)


@pytest.mark.parametrize(
    ("format", "repository", "place", "said"),
    [
        ("sparsify", "org/sae-x", f"layers.{LAYER}.mlp", "layers.1.mlp"),
        ("sparsify", "org/skip-transcoder-x", f"layers.{LAYER}", "transcoder"),
        ("dictionary_learning_1", "org/x", "mlp_out_layer_1/trainer_0", "mlp_out_layer_1"),
        ("dictionary_learning_1", "org/saes-attn-x", "resid_post_layer_1/trainer_0", "attention"),
        # sae-lens looks for "res" in the whole name, so the owner's name decides.
        ("gemma_2", "research/gemma-scope-2b-pt-mlp", "layer_1/width_16k/average_l0_71", "mlp"),
        ("sparsify", "org/sae-mlp-attn-res", f"layers.{LAYER}", None),
        ("dictionary_learning_1", "mlp/saes", "resid_post_layer_1/trainer_0", None),
        ("gemma_2", "google/gemma-scope-2b-pt-res", "layer_1/width_16k/average_l0_71", None),
    ],
)
def test_releases_state_their_site(hub, monkeypatch, format, repository, place, said):
    builders = {"dictionary_learning_1": dictionary, "gemma_2": gemma}
    source = hub / "source"
    made_up = builders.get(format, lambda root: sparsify(root, weights()))(source)
    shutil.copytree(made_up.folder, hub / place, dirs_exist_ok=True)
    change = {"d_in": D_MODEL, "d_sae": 40}
    monkeypatch.setattr("sae_lens.saes.sae.get_config_overrides", lambda *_: dict(change))
    if said is None:
        load_sae_release(repository, place, WANTED, format=format)
        return
    with pytest.raises(SaeError, match=said):
        load_sae_release(repository, place, WANTED, format=format)
