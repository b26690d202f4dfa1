"""A merged checkpoint computes what our edit does, and is whole or absent."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import namedtuple

import pytest
import torch
from gguf_files import write_gguf
from same import LAYERS, D, assert_differ, assert_same, make_edit, outputs, saved, under, wrong
from tiny import unit

from conceptbasis.edits.exports import check_checkpoint, check_in_weights, export_checkpoint
from conceptbasis.errors import ArtifactError, ConfigError, InterventionError
from conceptbasis.models.architecture.table import ARCHITECTURES
from conceptbasis.models.exports import checkpoint
from conceptbasis.models.loading.load import load_model

EDITABLE = [name for name, row in ARCHITECTURES.items() if not row.post_norm]


def reloaded(folder):
    loaded = load_model(folder)
    return outputs(loaded.model, loaded.tokenizer)


@pytest.mark.parametrize("model_type", EDITABLE)
def test_every_architecture_that_has_weight_edits_comes_back_edited(tmp_path, model_type):
    loaded = saved(tmp_path / "base", model_type)
    plain, edit = outputs(loaded.model, loaded.tokenizer), make_edit()
    export_checkpoint(loaded, edit, tmp_path / "out", "a card")
    found = reloaded(tmp_path / "out")
    assert_same(found, under(loaded, edit))
    assert_differ(found, plain)
    assert_differ(found, under(loaded, wrong(edit)))
    assert_same(outputs(loaded.model, loaded.tokenizer), plain, atol=0)  # it was put back


@pytest.mark.parametrize("changes", [{"gamma": 2.0}, {"gamma": -0.5}, {"which": "attention"}])
def test_strength_and_choice_of_writers_are_kept(tmp_path, changes):
    loaded = saved(tmp_path / "base", "mixtral")
    export_checkpoint(loaded, make_edit(**changes), tmp_path / "out", "")
    found = reloaded(tmp_path / "out")
    assert_same(found, under(loaded, make_edit(**changes)))
    assert_differ(found, under(loaded, make_edit()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_stays_and_weights_are_ours_to_the_bit(tmp_path, dtype):
    saved(tmp_path / "base", "llama")
    loaded = load_model(tmp_path / "base", dtype=dtype)
    edit = make_edit()
    export_checkpoint(loaded, edit, tmp_path / "out", "")
    again = load_model(tmp_path / "out", dtype=dtype)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["dtype"] == dtype
    wide = loaded.model.get_parameter("model.layers.0.mlp.down_proj.weight").float()
    r = edit.directions[0]
    written = again.model.get_parameter("model.layers.0.mlp.down_proj.weight")
    assert torch.equal(written, (wide - torch.outer(r, r @ wide)).to(written.dtype))
    found = outputs(again.model, again.tokenizer)
    assert_same(found, under(loaded, edit), atol=0)
    assert_differ(found, outputs(loaded.model, loaded.tokenizer))


def test_tied_embeddings_stay_tied_and_as_they_were(tmp_path):
    loaded = saved(tmp_path / "base", "llama", tie_word_embeddings=True)
    edit = make_edit()
    assert loaded.architecture.tied
    export_checkpoint(loaded, edit, tmp_path / "out", "")
    again = load_model(tmp_path / "out")
    assert again.architecture.tied
    assert torch.equal(again.architecture.embed.weight, loaded.architecture.embed.weight)
    found = outputs(again.model, again.tokenizer)
    assert_same(found, under(loaded, edit))
    assert_differ(found, outputs(loaded.model, loaded.tokenizer))


def test_a_target_from_a_gguf_file_becomes_a_plain_model(tmp_path):
    write_gguf(tmp_path / "a.gguf", "llama", storage="Q8_0")
    loaded = load_model(tmp_path / "a.gguf")
    rows = torch.stack([unit(32, 1), unit(32, 2)])
    edit = make_edit()
    edit = type(edit)(edit.plan.per_layer((0, 1)), rows, "orthogonalise", "writers")
    export_checkpoint(loaded, edit, tmp_path / "out", "")
    again = load_model(tmp_path / "out")
    assert again.tokenizer.chat_template == loaded.tokenizer.chat_template
    found = outputs(again.model, again.tokenizer)
    assert_same(found, under(loaded, edit))
    assert_differ(found, outputs(loaded.model, loaded.tokenizer))
    texts = [p.read_text() for p in (tmp_path / "out").glob("*.json")]
    assert not [text for text in texts if str(tmp_path) in text or "a.gguf" in text]


def test_large_weights_are_split(tmp_path, monkeypatch):
    loaded = saved(tmp_path / "base", "qwen3_moe")
    export_checkpoint(loaded, make_edit(), tmp_path / "one", "")
    monkeypatch.setattr(checkpoint, "SHARD", "20KB")
    export_checkpoint(loaded, make_edit(), tmp_path / "many", "")
    assert len(list((tmp_path / "one").glob("*.safetensors"))) == 1
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    assert_same(reloaded(tmp_path / "many"), reloaded(tmp_path / "one"), atol=0)


# Edits that are the same as one of weights


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mixtral", "gpt_oss"])
def test_an_ablation_of_the_writers_is_an_edit_of_weights(tmp_path, model_type):
    loaded = saved(tmp_path / "base", model_type)
    edit = make_edit("ablate", max_norms=(3.0, None))  # bounds of sinks are for the stream alone
    export_checkpoint(loaded, edit, tmp_path / "out", "")
    found = reloaded(tmp_path / "out")
    assert_same(found, under(loaded, edit))
    assert_differ(found, under(loaded, make_edit("ablate", "stream")))


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox"])
def test_an_addition_is_a_bias_where_the_mlp_has_one(tmp_path, model_type):
    loaded = saved(tmp_path / "base", model_type)
    plain, edit = outputs(loaded.model, loaded.tokenizer), make_edit("add", "stream")
    assert "2/3 stream" in str(check_checkpoint(loaded, edit, tmp_path / "out"))
    export_checkpoint(loaded, edit, tmp_path / "out", "")
    found = reloaded(tmp_path / "out")
    assert_same(found, under(loaded, edit))
    assert_differ(found, plain)
    assert_differ(found, under(loaded, wrong(edit)))
    assert_same(outputs(loaded.model, loaded.tokenizer), plain, atol=0)


@pytest.mark.parametrize("model_type", ["llama", "gpt_oss"])
def test_an_addition_without_a_plain_bias_is_refused(tmp_path, model_type):
    loaded = saved(tmp_path / "base", model_type)
    with pytest.raises(InterventionError, match="as a bias of"):
        check_checkpoint(loaded, make_edit("add", "stream"), tmp_path / "out")


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (make_edit("affine", "stream"), "mode affine on scope stream"),
        (make_edit("ablate", "stream"), "mode ablate on scope stream"),
        (make_edit("raise", "stream", gamma=-1.0), "mode raise on scope stream"),
        (make_edit("add", "stream", max_norms=(None, 9.0)), "attention sinks alone"),
    ],
)
def test_edits_that_no_weights_hold_are_refused_with_the_settings_that_do(edit, why):
    for adapter in (False, True):
        with pytest.raises(ConfigError, match=r"replay\.mode=orthogonalise") as raised:
            check_in_weights(edit, adapter=adapter)
        assert (why if not (adapter and edit.mode == "add") else "is a bias") in str(raised.value)


def test_a_norm_after_the_writers_is_refused(tmp_path):
    loaded = saved(tmp_path / "base", "gemma2")
    with pytest.raises(InterventionError, match=r"followed by a norm[\s\S]*--json"):
        export_checkpoint(loaded, make_edit("ablate"), tmp_path / "out", "")
    assert not (tmp_path / "out").exists()


# Whole or absent


@pytest.fixture
def loaded(tmp_path):
    return saved(tmp_path / "base", "llama")


def test_a_folder_with_files_is_refused_and_left_alone(tmp_path, loaded):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "out", tmp_path / "file/out", tmp_path / "file"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ArtifactError, match=r"files in it|cannot write"):
            export_checkpoint(loaded, make_edit(), place, "")
        assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "out/mine").unlink()
    export_checkpoint(loaded, make_edit(), tmp_path / "out", "")  # an empty one will do
    modes = {file.stat().st_mode for file in (tmp_path / "out").iterdir()}
    assert modes == {(tmp_path / "file").stat().st_mode}  # as the umask has it
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt(), ValueError()]
)
def test_nothing_remains_of_what_fails_on_the_way(tmp_path, loaded, monkeypatch, error):
    plain = outputs(loaded.model, loaded.tokenizer)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(type(loaded.tokenizer), "save_pretrained", fail)
    before = sorted(tmp_path.rglob("*"))
    kind = ArtifactError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind):
        export_checkpoint(loaded, make_edit(), tmp_path / "out", "")
    assert sorted(tmp_path.rglob("*")) == before
    assert_same(outputs(loaded.model, loaded.tokenizer), plain, atol=0)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, loaded, file_limit):
    before = sorted(tmp_path.rglob("*"))
    with file_limit(10_000), pytest.raises(ArtifactError, match=r"cannot write|disk is full"):
        export_checkpoint(loaded, make_edit(), tmp_path / "out", "")
    assert sorted(tmp_path.rglob("*")) == before


def test_too_little_room_is_said_before_anything_is_written(tmp_path, loaded, monkeypatch):
    usage = namedtuple("usage", "total used free")
    n_bytes = checkpoint.stored_bytes(loaded)
    parameters = sum(p.numel() for p in loaded.model.parameters())
    assert n_bytes == 4 * parameters
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, n_bytes))
    with pytest.raises(ArtifactError, match="GB free"):
        check_checkpoint(loaded, make_edit(), tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, n_bytes + 2**27))
    report = str(check_checkpoint(loaded, make_edit(), tmp_path / "out"))
    assert report == f"{len(LAYERS)}/3 attention, {len(LAYERS)}/3 mlp"
    assert make_edit().directions.shape == (len(LAYERS), D)
