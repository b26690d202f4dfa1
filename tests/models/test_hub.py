"""Hub ids with revisions, gates, tokens of the environment and offline work, on our own hub."""

import json
import os
import subprocess
import sys

import pytest
from gguf_files import write_gguf
from hub import TOKEN, serve
from tiny import make_model, make_tokenizer

# Runs in a process of its own, since the hub's address and the cache are read at import.
STEPS = """
import json, os, sys
import torch
torch.set_num_threads(1)
from conceptbasis.errors import ModelError
from conceptbasis.models.loading.load import load_model, silence_transformers

silence_transformers()

def attempt(name, token=None, **options):
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        loaded = load_model(name, **options)
        return {"sum": float(loaded.architecture.embed.weight.sum())}
    except ModelError as error:
        return {"what": error.what, "fix": error.fix}

print(json.dumps([attempt(name, **options) for name, options in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("repositories")
    for revision, seed in (("main", 0), ("v2", 1)):
        make_model("llama", seed=seed).save_pretrained(root / revision)
        make_tokenizer().save_pretrained(root / revision)
    return root


def test_a_gguf_file_of_a_repository_is_fetched_by_its_name(tmp_path):
    (tmp_path / "main").mkdir()
    model = write_gguf(tmp_path / "main" / "tiny.gguf")
    steps = [
        ("someone/files", {"gguf_file": "tiny.gguf"}),
        ("someone/files", {"gguf_file": "tiny.gguf", "offline": True}),
        ("someone/files", {"gguf_file": "other.gguf"}),
    ]
    with serve({"someone/files": {"main": tmp_path / "main"}}) as (address, _):
        found, offline, missing = attempts(address, tmp_path / "cache", steps)
    wanted = float(model.model.embed_tokens.weight.detach().sum())
    assert found.get("sum") == pytest.approx(wanted, abs=1e-3), found
    assert offline == found
    assert "no file could be loaded from someone/files" in missing["what"]


def attempts(address, cache, steps):
    """What loading gives, one after the other in one process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    result = subprocess.run(
        [sys.executable, "-c", STEPS, json.dumps(steps)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_revisions_gates_tokens_and_offline(saved, tmp_path):
    sums = {
        name: float(make_model("llama", seed=seed).model.embed_tokens.weight.detach().sum())
        for name, seed in (("main", 0), ("v2", 1))
    }
    assert abs(sums["main"] - sums["v2"]) > 1e-2
    repositories = {
        "someone/open": {"main": saved / "main", "v2": saved / "v2"},
        "someone/gated": {"main": saved / "main"},
    }
    steps = {
        "main": ("someone/open", {}),
        "v2": ("someone/open", {"revision": "v2"}),
        "v3": ("someone/open", {"revision": "v3"}),
        "closed": ("someone/gated", {}),
        "absent": ("someone/absent", {}),
        "never": ("someone/gated", {"offline": True}),
        "opened": ("someone/gated", {"token": TOKEN}),
        "offline": ("someone/gated", {"offline": True}),
    }
    with serve(repositories, gated=["someone/gated"]) as (address, seen):
        answers = attempts(address, tmp_path / "cache", list(steps.values()))
    found = dict(zip(steps, answers, strict=True))
    for name, revision in (("main", "main"), ("v2", "v2"), ("opened", "main"), ("offline", "main")):
        assert found[name].get("sum") == pytest.approx(sums[revision], abs=1e-3), found[name]
    assert "could be loaded from someone/open" in found["v3"]["what"]
    assert "accept the terms on the page of someone/gated" in found["closed"]["fix"]
    assert "HF_TOKEN" in found["closed"]["fix"]
    assert "check the path or id" in found["absent"]["fix"]
    assert "go online once" in found["never"]["fix"]
    # The token of the environment is what opened the gate, and offline asked for nothing more.
    tokens = [token for _, path, token, _ in seen if path.startswith("/someone/gated")]
    assert set(tokens) == {"", TOKEN}
    assert tokens == sorted(tokens)
