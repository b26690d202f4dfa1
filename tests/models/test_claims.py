"""A configuration that claims more weights than its files hold is refused at once."""

from __future__ import annotations

import struct

import pytest
from transformers import LlamaConfig

from conceptbasis.errors import ArtifactError, ConfigError, ModelError, PromptError
from conceptbasis.models.loading.claims import check_claims
from conceptbasis.models.loading.gguf import read_header


@pytest.mark.parametrize(
    "claim",
    [
        {"vocab_size": 10**9},
        {"num_hidden_layers": 10**7},
        {"intermediate_size": 10**9},
        {"hidden_size": 10**9},
    ],
)
def test_a_huge_claim_is_named(tmp_path, claim):
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    config = LlamaConfig(hidden_size=64, num_hidden_layers=2, intermediate_size=64)
    check_claims(config, str(tmp_path))  # the control
    for name, value in claim.items():
        setattr(config, name, value)
        with pytest.raises(ModelError, match=f"says {name} {value:,}"):
            check_claims(config, str(tmp_path))
    check_claims(config, "somebody/on-the-hub")  # nothing is known of its files


def field(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    "fields",
    [
        [field("a", 9, struct.pack("<IQ", 9, 1) * 3000)],
        [field("general.alignment", 4, struct.pack("<I", 0))],
        [field("general.alignment", 9, struct.pack("<IQ", 4, 0))],
        [field("a", 9, struct.pack("<IQ", 4, 2**62))],
        [field("a", 8, struct.pack("<Q", 2**62))],
    ],
    ids=["arrays in arrays", "alignment 0", "alignment a list", "huge array", "huge text"],
)
def test_a_gguf_header_of_nonsense_is_an_error(tmp_path, fields):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields)) + b"".join(fields))
    with pytest.raises(ModelError, match="header cannot be read"):
        read_header(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))  # the control
    assert read_header(path).tensors == ()


def test_text_nested_beyond_reason_is_an_error(tmp_path):
    from conceptbasis.config.base import load_yaml
    from conceptbasis.data.files import read_file
    from conceptbasis.runs.files import read_json

    deep = "[" * 100_000
    (tmp_path / "a.json").write_text(deep)
    with pytest.raises(ArtifactError, match="corrupt"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("1" * 5000)  # more digits than Python reads
    with pytest.raises(ArtifactError, match="corrupt"):
        read_json(tmp_path / "b.json")
    (tmp_path / "a.jsonl").write_text(deep)
    with pytest.raises(PromptError, match="line 1"):
        read_file(tmp_path / "a.jsonl")
    (tmp_path / "a.yaml").write_text("[" * 2000)
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_yaml(tmp_path / "a.yaml")
