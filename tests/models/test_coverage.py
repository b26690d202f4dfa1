"""What `doctor --model` says is what a loaded model has, for every family its weights."""

import json
from pathlib import Path

import pytest
from tiny import CHAT_TEMPLATE, make_config, make_tokenizer, unit

from conceptbasis.cli.main import main
from conceptbasis.errors import ModelError
from conceptbasis.models.architecture.table import ARCHITECTURES
from conceptbasis.models.coverage import examine_coverage, supported_table
from conceptbasis.models.loading.source import Source
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.weights import orthogonalise_weights, writer_matrices
from conceptbasis.models.text.template import ChatOptions

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def described(tmp_path):
    """A folder with configuration and tokenizer and no weights at all."""

    def make(model_type, **changes):
        make_config(model_type, **changes).save_pretrained(tmp_path)
        make_tokenizer().save_pretrained(tmp_path)
        return Source(str(tmp_path))

    return make


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_coverage_is_that_of_the_loaded_model(models, described, model_type):
    loaded = models[model_type]
    coverage = examine_coverage(described(model_type))
    architecture = loaded.architecture
    assert (coverage.n_layers, coverage.d_model) == (3, 16)
    assert coverage.d_vocab == architecture.d_vocab
    assert coverage.tied == architecture.tied
    matrices = sum(len(writer_matrices(loaded, layer)) for layer in range(3))
    assert sum(group.matrices for group in coverage.groups) == matrices
    r = unit(16, 1)
    edits = [Edit(layer, r) for layer in range(3)]
    with intervene(loaded, edits, scope="writers") as report:
        assert coverage.by_hooks == str(report)
    if architecture.post_norm:
        assert coverage.by_weights is None
        assert "post_attention_layernorm" in coverage.obstacle
    else:
        with orthogonalise_weights(loaded, {e.layer: r for e in edits}) as report:
            assert coverage.by_weights == str(report)
        assert coverage.obstacle is None
    assert coverage.chat["end_of_prompt"][0] == "Ċ"


def test_coverage_takes_no_memory_for_weights(described):
    source = described("llama", hidden_size=8192, intermediate_size=32768, num_hidden_layers=80)
    coverage = examine_coverage(source)
    assert coverage.by_hooks == "80/80 attention, 80/80 mlp"
    assert not any(p.suffix == ".safetensors" for p in Path(source.name).iterdir())


def test_quantised_checkpoints_and_settings_are_refused_with_the_method(described):
    source = described("llama")
    config = Path(source.name) / "config.json"
    assert examine_coverage(source).obstacle is None
    assert (
        examine_coverage(source, quantization="8bit").obstacle == "its weights are quantised (8bit)"
    )
    values = json.loads(config.read_text()) | {"quantization_config": {"quant_method": "mxfp4"}}
    config.write_text(json.dumps(values))
    assert examine_coverage(source).obstacle == "its weights are quantised (mxfp4)"


def test_doctor_prints_coverage_and_what_would_be_edited(described, capsys, tmp_path):
    source = described("qwen2_moe")
    assert main(["doctor", "--model", source.name, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["by_weights"] == "3/3 attention, 3/3 mlp, 12/12 experts"
    assert main(["doctor", "--model", source.name]) == 0
    shown = capsys.readouterr().out
    for words in (
        "Qwen2-MoE",
        "mlp.shared_expert.down_proj",
        "edited by weights: 3/3 attention",
    ):
        assert words in shown
    described("gemma2")
    assert main(["doctor", "--model", source.name]) == 0
    shown = capsys.readouterr().out
    assert "refused" in shown
    assert "edited by weights: refused, since post_attention_layernorm" in " ".join(shown.split())
    file = tmp_path / "own.yaml"
    make_config("starcoder2").save_pretrained(tmp_path)
    file.write_text(f"model: {tmp_path}\nchat: {{system: be brief}}\n")
    assert main(["doctor", "--model", str(file)]) == 2
    shown = capsys.readouterr().err
    assert "unknown model type 'starcoder2'" in shown
    assert "layers: ModuleList" in shown
    file.write_text(file.read_text() + "architecture: {like: llama, mlp_writer: mlp.c_proj}\n")
    assert main(["doctor", "--model", str(file)]) == 0
    assert "a row of your own" in " ".join(capsys.readouterr().out.split())


def test_doctor_tells_what_the_template_allows_and_what_is_set(described):
    source = described("qwen3")
    template = CHAT_TEMPLATE + "{% if enable_thinking is false %}<|system|>{% endif %}"
    make_tokenizer(template=template).save_pretrained(source.name)
    plain = examine_coverage(source).chat
    told = examine_coverage(source, chat=ChatOptions(thinking=False, system="be brief")).chat
    assert plain["thinking"] == told["thinking"] == "enable_thinking"
    assert plain["system_prompt"]
    assert told["end_of_prompt"] == [*plain["end_of_prompt"], "<|system|>"]


def test_doctor_names_what_is_missing(described, tmp_path, capsys):
    source = described("llama")
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    assert "no tokenizer could be loaded" in examine_coverage(source).chat["problem"]
    make_tokenizer(template="").save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    assert "no chat template" in examine_coverage(source).chat["problem"]
    with pytest.raises(ModelError, match="no model could be loaded"):
        examine_coverage(Source(str(tmp_path / "nowhere")))
    assert main(["doctor", "--model", "organism:llama:977"]) == 2
    assert "organisms build llama --seed 977" in capsys.readouterr().err


def test_the_documented_table_is_the_table():
    assert supported_table() in (DOCS / "method.md").read_text(encoding="utf-8")
    assert supported_table().count("\n") == len(ARCHITECTURES) + 2
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert f"{len(ARCHITECTURES)} architectures" in readme


def test_row_of_a_described_model_is_checked_before_weights_are_fetched(described):
    source = described("mixtral")
    with pytest.raises(ModelError, match="has shape"):
        examine_coverage(source, architecture={"like": "mixtral", "experts_orientation": "in_out"})
