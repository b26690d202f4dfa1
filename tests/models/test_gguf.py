"""GGUF files load as plain models, and a tokenizer that was read wrongly is refused."""

import hashlib

import pytest
import torch
from gguf_files import EOS, PAD, TEMPLATE, UNK, write_gguf
from tokenizers import Tokenizer, models

from conceptbasis.errors import ModelError
from conceptbasis.models.coverage import examine_coverage
from conceptbasis.models.loading.fetching import Placement, load_tokenizer
from conceptbasis.models.loading.gguf import read_header
from conceptbasis.models.loading.gguf_tokenizer import check_tokenizer
from conceptbasis.models.loading.load import load_model
from conceptbasis.models.loading.source import Source
from conceptbasis.models.text.generation import generate
from conceptbasis.models.text.template import ChatOptions

PROMPTS = ["where is the house ?", "how do I make bread"]


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def written(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "tiny.gguf"
    return path, write_gguf(path, request.param)


def test_a_file_gives_the_model_it_was_made_of(written):
    path, model = written
    loaded = load_model(path)
    ids = torch.arange(10, 40)[None]
    with torch.no_grad():
        assert torch.allclose(loaded.model(ids).logits, model(ids).logits, atol=1e-4)
    assert loaded.file_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.tokenizer.chat_template == TEMPLATE
    assert (loaded.tokenizer.eos_token_id, loaded.tokenizer.pad_token_id) == (EOS, PAD)
    assert len(generate(loaded, PROMPTS, max_new_tokens=3)) == 2


def test_nothing_says_that_the_model_is_quantised(written, tmp_path):
    loaded = load_model(written[0])
    assert not getattr(loaded.model, "is_quantized", False)
    assert getattr(loaded.model, "hf_quantizer", None) is None
    assert not hasattr(loaded.model.config, "quantization_config")
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    prompts = generate(loaded, PROMPTS, max_new_tokens=4)
    assert generate(again, PROMPTS, max_new_tokens=4) == prompts
    assert loaded.model.half().dtype == torch.float16


def test_the_folder_and_the_name_of_the_file_do_as_well_as_its_path(written):
    path, _ = written
    loaded = load_model(path.parent, gguf_file=path.name, dtype="bfloat16")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    coverage = examine_coverage(Source(str(path)))
    assert coverage.d_model == loaded.architecture.d_model
    assert "problem" not in coverage.chat


def test_scaled_rotary_positions_are_kept_or_refused(tmp_path):
    model = write_gguf(tmp_path / "scaled.gguf", "gemma3", factor=8.0)
    loaded = load_model(tmp_path / "scaled.gguf")
    ids = torch.arange(10, 60)[None]
    with torch.no_grad():
        assert torch.allclose(loaded.model(ids).logits, model(ids).logits, atol=1e-4)
    write_gguf(tmp_path / "yarn.gguf", factor=4.0, scaling="yarn")
    with pytest.raises(ModelError, match=r"rescales rotary positions \(yarn\)"):
        load_model(tmp_path / "yarn.gguf")


def test_quantised_weights_are_near_those_they_were_made_of(tmp_path):
    model = write_gguf(tmp_path / "q.gguf", storage="Q8_0")
    loaded = load_model(tmp_path / "q.gguf")
    for name, parameter in loaded.model.named_parameters():
        assert torch.allclose(parameter, model.get_parameter(name), atol=0.01), name


def test_a_file_without_padding_token_or_template_is_helped(tmp_path):
    write_gguf(tmp_path / "base.gguf", template=None, padding=None)
    with pytest.raises(ModelError, match=r"(?s)no chat template.*chat\.template"):
        load_model(tmp_path / "base.gguf")
    told = examine_coverage(Source(str(tmp_path / "base.gguf"))).chat["problem"]
    assert "chat.template" in told
    loaded = load_model(tmp_path / "base.gguf", chat=ChatOptions(template=TEMPLATE))
    assert loaded.tokenizer.pad_token_id == UNK
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    options = ChatOptions(template=str(tmp_path / "chat.jinja"))
    again = load_model(tmp_path / "base.gguf", chat=options)
    assert generate(again, PROMPTS, max_new_tokens=3) == generate(loaded, PROMPTS, max_new_tokens=3)


def test_a_tokenizer_that_cuts_words_or_has_other_special_tokens_is_refused(written):
    path, _ = written
    header = read_header(path)
    tokenizer = load_tokenizer(Source(str(path)))
    tokenizer.eos_token = "<pad>"
    with pytest.raises(ModelError, match=r"(?s)as its eos token.*transformers==5\.23\.0"):
        check_tokenizer(tokenizer, header)
    cutting = load_tokenizer(Source(str(path)))
    vocabulary = cutting.get_vocab()
    letters = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    letters.pre_tokenizer = cutting.backend_tokenizer.pre_tokenizer
    letters.normalizer = cutting.backend_tokenizer.normalizer
    cutting._tokenizer = letters
    with pytest.raises(ModelError, match=r"(?s)cuts \d+ of \d+ common words.*5\.23\.0"):
        check_tokenizer(cutting, header)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-2000])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:400])


def no_gguf(path):
    path.write_bytes(b"PK\x03\x04" + path.read_bytes()[4:])


def other_version(path):
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\x09\0\0\0" + data[8:])


@pytest.mark.parametrize("damage", [truncated, cut_in_the_header, no_gguf, other_version])
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    damage(path)
    with pytest.raises(ModelError, match=r"no complete GGUF file"):
        load_model(path)


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "tiny.gguf"
    with pytest.raises(ModelError, match="there is no GGUF file"):
        load_model(path)
    write_gguf(path, storage="Q8_0")
    with pytest.raises(ModelError, match="quantization or device_map"):
        load_model(path, placement=Placement(device_map="auto"))
    from gguf import GGMLQuantizationType
    from gguf.quants import _type_traits

    monkeypatch.delitem(_type_traits, GGMLQuantizationType.Q8_0)
    read_header.__globals__["_read"].cache_clear()
    with pytest.raises(ModelError, match="stored as Q8_0, which cannot be read"):
        load_model(path)


def test_a_missing_tensor_is_named(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", skip="blk.1.ffn_up.weight")
    with pytest.raises(ModelError, match=r"do not fit|could be loaded"):
        load_model(tmp_path / "tiny.gguf")
