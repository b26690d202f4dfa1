"""The reader of docs/exports.md, run as it stands there, gives the logits of our edit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from same import LAYERS, D, assert_differ, assert_same, make_edit, outputs, saved, under, wrong

from conceptbasis.edits.edit_file import Described, write_edit
from conceptbasis.models.loading.fetching import model_class
from conceptbasis.models.loading.wrapped import hash_weights

PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")
(READER,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

EDITS = {
    "affine": make_edit("affine", "stream"),
    "affine, sinks": make_edit("affine", "stream", max_norms=(4.0, None)),
    "cap": make_edit("cap", "stream", gamma=0.8, max_norms=(4.0, None)),
    "cap, along": make_edit("cap", "stream", gates=None),
    "ablate": make_edit("ablate", "stream", gamma=2.0),
    "add": make_edit("add", "stream", max_norms=(None, 6.0)),
    "raise": make_edit("raise", "stream", gamma=-1.5),
    "writers": make_edit("ablate", max_norms=(0.1, 0.1)),
    "weights": make_edit(gamma=0.7),
    "attention": make_edit(which="attention"),
}
CASES = [("llama", name) for name in EDITS]
CASES += [(kind, name) for kind in ("gpt2", "mixtral") for name in ("affine, sinks", "weights")]
CASES += [
    ("gemma2", "affine"),
    ("gemma2", "writers"),
    ("qwen3_vl", "affine"),
    ("gpt_oss", "weights"),
]


def export(loaded, edit, path):
    about = Described("refusal", "org/base", "main", hash_weights(loaded.model), "0.0")
    return write_edit(path, loaded, edit, about)


def read_back(base, path):
    """The edit on a model that transformers loads, by the reader of the page alone."""
    from transformers import AutoConfig

    names: dict = {}
    exec(compile(READER, "docs/exports.md", "exec"), names)
    model = model_class(AutoConfig.from_pretrained(base)).from_pretrained(base).eval()
    handles = names["apply_edit"](model, path)
    return model, handles


@pytest.mark.parametrize(("model_type", "name"), CASES)
def test_the_reader_of_the_page_does_what_we_do(tmp_path, model_type, name):
    loaded, edit, path = saved(tmp_path / "base", model_type), EDITS[name], tmp_path / "edit.json"
    plain = outputs(loaded.model, loaded.tokenizer)
    assert export(loaded, edit, path) == len(json.loads(path.read_text())["edits"])
    model, handles = read_back(tmp_path / "base", path)
    found = outputs(model, loaded.tokenizer)
    assert_same(found, under(loaded, edit))
    assert_differ(found, plain)
    assert_differ(found, under(loaded, wrong(edit)))
    for handle in handles:
        handle.remove()
    assert_same(outputs(model, loaded.tokenizer), plain)


def test_the_bound_of_sinks_is_read(tmp_path):
    """The control of the two edits with bounds: without them the reader gives another model."""
    loaded, path = saved(tmp_path / "base", "llama"), tmp_path / "edit.json"
    export(loaded, EDITS["affine"], path)
    model, _ = read_back(tmp_path / "base", path)
    assert_differ(outputs(model, loaded.tokenizer), under(loaded, EDITS["affine, sinks"]))


def test_the_file_says_all_of_itself(tmp_path):
    loaded, path = saved(tmp_path / "base", "llama"), tmp_path / "edit.json"
    edit = EDITS["affine, sinks"]
    export(loaded, edit, path)
    content = json.loads(path.read_text())
    assert (content["format"], content["version"]) == ("conceptbasis.edit", 2)
    assert content["model"] == {
        "name": "org/base",
        "revision": "main",
        "weights": hash_weights(loaded.model),
        "model_type": "llama",
        "n_layers": 3,
        "d_model": D,
    }
    assert content["run"]["layers"] == list(LAYERS)
    first, second = content["edits"]
    assert (first["module"], second["module"]) == ("model.layers.0", "model.layers.2")
    assert (first["max_norm"], second["max_norm"], first["gate"]) == (4.0, None, None)
    assert torch.equal(torch.tensor(first["mean"]), edit.means[0])
    torch.testing.assert_close(torch.tensor(first["direction"]), edit.directions[0])
    every = {key for entry in content["edits"] for key in entry} | {*content, *content["model"]}
    assert not [key for key in every if f"`{key}`" not in PAGE]


def test_the_reader_needs_torch_alone():
    code = f"import sys\nsys.modules['transformers'] = sys.modules['conceptbasis'] = None\n{READER}"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert len([line for line in READER.splitlines() if line.strip()]) <= 25
