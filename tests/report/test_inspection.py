"""The recipe in the terminal: joined, ranked, and clear about what does not exist."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from conceptbasis.errors import ArtifactError
from conceptbasis.report.inspection import as_json, print_recipe

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("inspection") / "run")


def printed(folder: Path, **options: int) -> str:
    out = io.StringIO()
    print_recipe(folder, console=Console(file=out, width=80), **options)
    assert max(len(line) for line in out.getvalue().splitlines()) <= 80
    return out.getvalue()


def test_atoms_are_ranked_and_joined(folder: Path) -> None:
    layers = as_json(folder)
    assert [layer["target"] for layer in layers] == [1, 2, 3, 4]
    for layer in layers:
        sizes = [abs(atom["coefficient"]) for atom in layer["donor_atoms"]]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(atom["share"] for atom in layer["donor_atoms"]) == pytest.approx(1)
        assert all(
            atom["low"] < atom["coefficient"] < atom["high"] for atom in layer["donor_atoms"]
        )
    json.dumps(layers)


def test_prints_both_sides(folder: Path) -> None:
    (layer,) = as_json(folder, layer=2)
    text = printed(folder, layer=2)
    best = layer["donor_atoms"][0]
    line = next(row for row in text.splitlines() if row.split()[:1] == [str(best["feature"])])
    for cell in (f"{best['coefficient']:+.3f}", "0.80", "0.11", str(best["target_feature"])):
        assert cell in line
    assert "target layer 2 from donor layer 2: eligible mass 0.50" in text
    assert "unstable" in text
    assert "target layer 1" not in text


def test_one_atom(folder: Path) -> None:
    atom = as_json(folder)[0]["donor_atoms"][0]
    (layer,) = as_json(folder, layer=1, atom=atom["feature"])
    assert [a["feature"] for a in layer["donor_atoms"]] == [atom["feature"]]
    assert [a["feature"] for a in layer["target_atoms"]] == [atom["target_feature"]]
    assert layer["donor_atoms"][0]["share"] == atom["share"]
    assert str(atom["feature"]) in printed(folder, atom=atom["feature"])


def test_unknown_layer_names_those_that_exist(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no target layer 9") as caught:
        as_json(folder, layer=9)
    assert caught.value.expected.endswith("1, 2, 3, 4")
    assert "--layer" in caught.value.fix


def test_unknown_atom_names_those_that_exist(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no atom with donor feature 99999") as caught:
        as_json(folder, layer=2, atom=99999)
    assert str(as_json(folder, layer=2)[0]["donor_atoms"][0]["feature"]) in caught.value.expected


def test_missing_stage_and_inconsistent_stages_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        as_json(tmp_path)
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    (copy / "fit" / "result.json").write_text('{"layers": []}')
    with pytest.raises(ArtifactError, match="has no recipe"):
        as_json(copy)


def test_missing_figures_are_dashes(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    path = copy / "transfer" / "result.json"
    result = json.loads(path.read_text())
    for layer in result["layers"]:
        layer["agreement"] = None
        for atom in layer["donor_atoms"]:
            atom |= {"target_feature": None, "r_heldout": None, "null_quantile": None}
    path.write_text(json.dumps(result))
    assert "agreement –" in printed(copy)
