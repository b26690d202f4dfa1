"""Every tutorial runs, at a small size; what the committed ones show is small and of no machine."""

from __future__ import annotations

import getpass
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import tutorials  # noqa: E402

SMALL = {"d_sae": 128, "k": 12, "n_steps": 4, "batch_size": 256, "n_texts": 60}
QUICK: dict[str, dict[str, object]] = {
    "evaluate": {"n_prompts": 4, "controls": False, "baselines": [], "n_kl_prompts": 4},
    "forecast": {"n_proxies": 1, "n_proxy_prompts": 8},
    "atoms": {"n_prompts": 8, "n_leave_out": 0},
    "stability": {"n_splits": 0},
    "guard": {"shares": [0.0]},
    "harvest": {"n_texts": 200},
    "match": {"r_min": 0.05},
}
"""Settings of a transfer that measures almost nothing."""


@pytest.fixture(scope="module")
def desk(finished, ready, tmp_path_factory):
    """A folder with what tutorials need: a finished run, model files and settings."""
    folder = tmp_path_factory.mktemp("tutorials")
    shutil.copytree(finished.folder, folder / "runs/demo")
    files = {
        "donor.yaml": ready.donor_config().model_dump(mode="json"),
        "target.yaml": ready.target_config().model_dump(mode="json"),
        "small.yaml": ready.config(curve={"measure": True}).model_dump(mode="json"),
    }
    for name, values in files.items():
        (folder / name).write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def models():
    return {"donor": "donor.yaml", "target": "target.yaml", "settings": "small.yaml"}


def shown(book: nbformat.NotebookNode) -> str:
    """All that the cells of a notebook print."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    texts = [o.text if o.output_type == "stream" else o.data.get("text/plain") for o in outputs]
    return "\n".join(text for text in texts if text)


def test_saes_are_trained_and_compared(desk, ready):
    values = {
        "donor": str(ready.donor),
        "target": str(ready.target),
        "good": SMALL,
        "short": {**SMALL, "n_steps": 1},
        "narrow": {**SMALL, "d_sae": 24, "k": 2},
        "some_layers": [1],
    }
    said = shown(tutorials.run_notebook("saes", desk, values))
    assert "narrow" in said
    assert "(128, 48)" in said
    assert "Warning" not in said


def test_an_atom_is_tested_beside_controls(desk, models):
    values = {**models, "n_prompts": 4, "n_controls": 2}
    said = shown(tutorials.run_notebook("atoms", desk, values))
    assert "controls, max" in said
    assert re.search(r"\d+, control", said)


def test_logged_runs_are_compared(desk, models):
    """At the number of atoms that the run has already, so that it is reused as a whole."""
    values = {**models, "n_atoms": [32], "options": "--config small.yaml"}
    said = shown(tutorials.run_notebook("wandb", desk, values))
    assert "1 offline runs in 1 folders" in said
    assert "kl_first_token/mean" in said
    assert r"\begin{tabular}" in said


def test_own_files_lead_to_a_report(desk, ready):
    shutil.copytree(ready.target, desk / "my-model")
    for name, more in (("donor", {}), ("target", {"model": "my-model"})):
        model = yaml.safe_load((desk / f"{name}.yaml").read_text()) | more
        model["saes"]["train"].update(SMALL)
        (desk / f"small-{name}.yaml").write_text(yaml.safe_dump(model))
    settings = ready.config(**QUICK).model_dump(mode="json")
    del settings["prompts"]
    values = {"donor": "small-donor.yaml", "mine": "small-target.yaml"}
    values["more"] = yaml.safe_dump(settings)
    said = shown(tutorials.run_notebook("own", desk, values))
    assert (desk / "runs/mine/report.html").exists()
    assert "native" in said


def test_a_command_that_fails_fails_the_tutorial(tmp_path, monkeypatch):
    """Negative control."""
    cells = [nbformat.v4.new_code_cell("for name in ['false']:\n    !{name}\n1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "wrong.ipynb")
    monkeypatch.setattr(tutorials, "NOTEBOOKS", tmp_path)
    with pytest.raises(CellExecutionError):
        tutorials.run_notebook("wrong", tmp_path)


def test_parameters_that_a_tutorial_does_not_have_are_refused():
    assert tutorials.with_values("a = 1\nb = 2  # two", {"b": "x"}) == "a = 1\nb = 'x'"
    with pytest.raises(ValueError, match="unpack"):
        tutorials.with_values("donor = 1\n", {"doner": 2})


@pytest.mark.parametrize("name", tutorials.NAMES)
def test_committed_outputs_are_complete_small_and_of_no_machine(name):
    path = tutorials.NOTEBOOKS / f"{name}.ipynb"
    text = path.read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
    assert sum(tutorials.PARAMETERS in c.metadata.get("tags", ()) for c in code) == 1
    data = [output.get("data", {}) for cell in code for output in cell.outputs]
    images = [found["image/svg+xml"] for found in data if "image/svg+xml" in found]
    assert all(len(image) < 60_000 for image in images)
    assert len([c for c in code if "alt" in c.metadata]) == len(images)
    assert len(text) < 300_000
    own = [str(Path.home()), str(ROOT), "/tmp/", "/home/", *{getpass.getuser()} - {"root"}]
    assert not [word for word in own if word in text]


def test_there_is_a_tutorial_for_every_file():
    found = {path.stem for path in tutorials.NOTEBOOKS.glob("*.ipynb")}
    assert found == {*tutorials.NAMES}
    assert all(f"tutorials/{name}.ipynb" in (ROOT / "mkdocs.yml").read_text() for name in found)
