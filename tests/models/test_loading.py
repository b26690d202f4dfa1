"""A saved model loads and is ready to be hooked; what is missing is named."""

import pytest
import torch
from tiny import make_model, make_tokenizer

from conceptbasis.errors import ModelError
from conceptbasis.models.generation import generate
from conceptbasis.models.loading import load_model, wrap_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixtral")
    make_model("mixtral").save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


def test_round_trip(folder, models):
    loaded = load_model(folder)
    assert loaded.architecture.model_type == "mixtral"
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.name == str(folder)
    assert loaded.max_length == 128
    prompts = ["salt", "where is the bridge"]
    expected = generate(models["mixtral"], prompts, max_new_tokens=5)
    assert generate(loaded, prompts, max_new_tokens=5) == expected


def test_float64_runs_on_the_cpu(folder):
    loaded = load_model(folder, dtype="float64")
    assert next(loaded.model.parameters()).dtype == torch.float64
    assert len(generate(loaded, ["salt"], max_new_tokens=3)) == 1


def test_missing_pieces_are_named(tmp_path):
    with pytest.raises(ModelError, match="no tokenizer could be loaded"):
        load_model(tmp_path / "nowhere")
    make_model("llama").save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError, match="no tokenizer could be loaded"):
        load_model(tmp_path / "bare")
    make_tokenizer().save_pretrained(tmp_path / "words")
    with pytest.raises(ModelError, match="no model could be loaded"):
        load_model(tmp_path / "words")
    with pytest.raises(ModelError, match="int8"):
        load_model(tmp_path / "words", dtype="int8")
    with pytest.raises(ModelError, match="could be loaded"):
        load_model("nobody/no-such-model")


def test_unfit_tokenizers_are_refused():
    with pytest.raises(ModelError, match="no chat template"):
        wrap_model(make_model("llama"), make_tokenizer(template=""), name="x")

    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="Slow, which gives no offsets"):
        wrap_model(make_model("llama"), Slow(), name="x")
    with pytest.raises(ModelError, match="310 tokens"):
        wrap_model(make_model("llama", vocab_size=300), make_tokenizer(), name="x")
