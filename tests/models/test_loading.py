"""A saved model loads and is ready to be hooked; what is missing is named."""

import json
import shutil

import pytest
import torch
from tiny import CHAT_TEMPLATE, make_model, make_tokenizer

from conceptbasis.errors import ConfigError, ModelError, PromptError
from conceptbasis.models.coverage import examine_coverage
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.load import load_model, wrap_model
from conceptbasis.models.loading.source import Source
from conceptbasis.models.text.generation import generate, text_nll


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


def one_token_more(tmp_path, template=CHAT_TEMPLATE):
    """A Gemma 3 text model of V rows with a tokenizer of V + 1, the last one for an image."""
    tokenizer = make_tokenizer(template=template)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    assert len(tokenizer) == rows + 1
    make_model("gemma3_text", vocab_size=rows).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_tokenizer_may_know_more_tokens_than_the_model_has_rows(tmp_path):
    folder = one_token_more(tmp_path)
    loaded = load_model(folder)
    assert len(generate(loaded, ["salt"], max_new_tokens=2)) == 1
    assert "problem" not in examine_coverage(Source(str(folder))).chat
    with pytest.raises(PromptError, match=r"a text writes the token <image> \(310\)"):
        generate(loaded, ["salt <image>"], max_new_tokens=2)
    with pytest.raises(PromptError, match="<image>"):
        text_nll(loaded, ["salt <image>"])


def test_a_template_that_writes_a_token_without_a_row_is_refused_by_loading_and_doctor(tmp_path):
    folder = one_token_more(tmp_path, CHAT_TEMPLATE + "<image>")
    with pytest.raises(ModelError, match=r"chat template of .* writes the token <image>") as caught:
        load_model(folder)
    assert examine_coverage(Source(str(folder))).chat["problem"] == caught.value.what


END = "{% if m['role'] == 'assistant' %}<image>{% endif %}"
SYSTEM = "{% if m['role'] == 'system' %}<image>{% endif %}"


@pytest.mark.parametrize("written", [END, SYSTEM, "{% if loop.index > 2 %}<image>{% endif %}"])
def test_a_template_that_writes_it_around_an_answer_or_a_system_turn_is_refused_too(
    tmp_path, written
):
    body = "{{ m['content'] | trim }}"
    folder = one_token_more(tmp_path, CHAT_TEMPLATE.replace(body, body + written))
    with pytest.raises(ModelError, match=r"chat template of .* writes the token <image>") as caught:
        load_model(folder)
    assert examine_coverage(Source(str(folder))).chat["problem"] == caught.value.what


def test_turns_that_the_template_refuses_are_no_reason_to_refuse_the_model(tmp_path):
    """The control: as Gemma's, the template takes no system turn."""
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}<image>{% endif %}"
    loaded = load_model(one_token_more(tmp_path, refuses + CHAT_TEMPLATE))
    assert len(generate(loaded, ["salt"], max_new_tokens=2)) == 1


@pytest.mark.parametrize("device", ["cuda:97", "meta", "nonsense", "hpu"])
def test_a_device_that_holds_no_values_is_said_and_the_folder_is_not_blamed(folder, device):
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used") as caught:
        load_model(folder, device=device)
    assert str(folder) not in str(caught.value)
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
        load_model(folder, placement=Placement(device_map={"": device}))
    assert load_model(folder, device="cpu").device.type == "cpu"


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil_weights(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:3000])


DAMAGE = {
    "config is no JSON": lambda copy: (copy / "config.json").write_text('{"a'),
    "config is a list": lambda copy: (copy / "config.json").write_text("[1]"),
    "width is a word": lambda copy: edit(copy / "config.json", hidden_size="wide"),
    "unknown activation": lambda copy: edit(copy / "config.json", hidden_act="none"),
    "unknown type": lambda copy: edit(copy / "config.json", model_type="none"),
    "no weights": lambda copy: (copy / "model.safetensors").unlink(),
    "truncated weights": spoil_weights,
    "empty weights": lambda copy: (copy / "model.safetensors").write_bytes(b""),
    "tokenizer is no JSON": lambda copy: (copy / "tokenizer.json").write_text('{"a'),
    "tokenizer is a list": lambda copy: (copy / "tokenizer.json").write_text("[]"),
    "tokenizer without vocabulary": lambda copy: (copy / "tokenizer.json").write_text(
        '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE"}}'
    ),
    "tokenizer_config is a list": lambda copy: (copy / "tokenizer_config.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_folder_is_one_clear_error(folder, tmp_path, damage):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy)
    with pytest.raises(ModelError, match="could be loaded from") as caught:
        load_model(copy)
    assert str(copy) in caught.value.what
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 5}, r"\d+ tensors are missing, e\.g\. model\.layers\.3"),
        ({"model_type": "llama"}, r"\d+ tensors are missing, e\.g\. model\.layers\.0"),
        ({"vocab_size": 330}, r"lm_head\.weight has \(320, 16\), not \(330, 16\)"),
    ],
)
def test_weights_that_do_not_fit_the_model_are_refused(folder, tmp_path, changes, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    edit(copy / "config.json", **changes)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(copy)
    assert "config.json" in caught.value.fix


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path(__file__).with_name("ran").touch()
Path({sentinel!r}).touch()

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_code_of_a_model_runs_only_where_it_is_asked_for(tmp_path, monkeypatch):
    copy, sentinel = tmp_path / "own", tmp_path / "ran"
    make_model("llama").save_pretrained(copy)
    make_tokenizer().save_pretrained(copy)
    (copy / "own.py").write_text(CODE.format(sentinel=str(sentinel)))
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    edit(copy / "config.json", model_type="own", auto_map=own)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    monkeypatch.syspath_prepend(str(tmp_path / "m"))
    with pytest.raises(ModelError, match="could be loaded") as caught:
        load_model(copy)
    assert "trust_remote_code: true" in caught.value.fix
    assert not sentinel.exists()
    # Negative control: asked for, it runs; then its type is not in the table.
    with pytest.raises(ModelError, match="unknown model type 'own'"):
        load_model(copy, trust_remote_code=True)
    assert sentinel.exists()
    row = {"like": "llama"}
    assert load_model(copy, trust_remote_code=True, architecture=row).architecture.n_layers == 3
