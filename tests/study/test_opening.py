"""Every key of a model configuration that says how a model is loaded reaches the loaded model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from conceptbasis.config.base import parse_config
from conceptbasis.config.model import ChatSection, ModelConfig
from conceptbasis.errors import ConfigError, InterventionError, ModelError, PromptError
from conceptbasis.models.text.chat import render
from conceptbasis.pipeline import run_pipeline
from conceptbasis.runs.progress import Reporter
from conceptbasis.study.opening import hash_model, open_model

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from tiny import make_model, make_tokenizer

QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("starcoder")
    make_model("starcoder2").save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


ROW = {"like": "llama", "mlp_writer": "mlp.c_proj"}


def config_of(folder, **keys):
    values = {"name": "x", "model": str(folder), "architecture": ROW, **keys}
    return parse_config(ModelConfig, values, "test")


def opened(folder, **keys):
    return open_model(config_of(folder, **keys), "cpu", QUIET)


def test_keys_reach_the_model(folder, tmp_path):
    plain = opened(folder)
    told = opened(folder, chat={"system": "be brief"}, dtype="bfloat16")
    message = [{"role": "user", "content": "salt"}]
    assert "be brief" in render(told.tokenizer, message, add_generation_prompt=True)
    assert "be brief" not in render(plain.tokenizer, message, add_generation_prompt=True)
    assert told.model.dtype == torch.bfloat16
    split = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb"), "cpu")
    split |= {"lm_head": "cpu", "model.layers.0": "cpu", "model.layers.1": "cpu"}
    split |= {"model.layers.2": "disk"}
    parts = opened(folder, device_map=split, offload_folder=str(tmp_path))
    assert any(p.is_meta for p in parts.model.parameters())
    # The hash is that of the model, wherever its parts are; a system prompt makes another one.
    assert hash_model(parts) == hash_model(plain)
    assert hash_model(opened(folder, chat={"system": "be brief"})) != hash_model(plain)


def test_mistakes_are_named(folder):
    with pytest.raises(ModelError, match="unknown model type 'starcoder2'"):
        opened(folder, architecture=None)
    with pytest.raises(PromptError, match="no switch for thinking"):
        opened(folder, chat={"thinking": True})
    for keys in ({"quantization": "3bit"}, {"chat": {"sistem": "x"}}, {"architecture": "llama"}):
        with pytest.raises(ConfigError):
            config_of(folder, **keys)


def test_a_weight_edit_that_will_be_refused_is_refused_before_any_work(world, tmp_path):
    target = tmp_path / "gemma2"
    make_model("gemma2").save_pretrained(target)
    make_tokenizer().save_pretrained(target)
    config = world.config(replay={"mode": "orthogonalise", "scope": "writers"})
    run = tmp_path / "run"
    with pytest.raises(InterventionError, match="gemma2, whose writers are followed by a norm"):
        run_pipeline(
            world.donor_config(),
            world.target_config().model_copy(update={"model": str(target)}),
            config,
            run,
            QUIET,
        )
    assert not any(run.rglob("*.safetensors"))


def test_every_key_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    keys = [*ModelConfig.model_fields, *(f"chat.{name}" for name in ChatSection.model_fields)]
    assert [key for key in keys if f"| `{key}` |" not in text] == []
