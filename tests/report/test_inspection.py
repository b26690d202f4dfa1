"""The recipe in the terminal: joined, ranked, and clear about what does not exist."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conceptbasis.errors import ArtifactError
from conceptbasis.report.atom_views import print_recipe
from conceptbasis.report.inspection import read_recipe, weight_at

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import SECRET, SINGLE_LAYER, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("inspection") / "run")


def as_json(folder: Path, **options: Any) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = read_recipe(folder, **options)["layers"]
    return layers


def printed(folder: Path, **options: Any) -> str:
    out = io.StringIO()
    recipe = read_recipe(folder, **options)
    few, full = "layer" not in options, "atom" in options
    print_recipe(recipe, Console(file=out, width=80), few=few, full=full)
    assert "…" not in out.getvalue().replace("… 4 more", "")
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
    span = f"{best['low']:+.1f},{best['high']:+.1f}"
    figures = (f"{best['coefficient']:+.2f}", span, "0.80", "0.11", ".020/.015", "0.12", "0.91")
    for cell in (*figures, str(best["target_feature"])):
        assert cell in line
    assert "target layer 2 from donor layer 2: eligible mass 0.50" in text
    assert "0.34*" in text
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


# Evidence


def test_evidence_is_joined_to_both_sides(folder: Path) -> None:
    (layer,) = as_json(folder, layer=2)
    for atom in layer["donor_atoms"]:
        assert atom["evidence"]["feature"] == atom["feature"]
        assert atom["target_evidence"]["feature"] == atom["target_feature"]
        assert atom["guard_overlap"] == 0.12
    assert all(atom["evidence"]["label"] == "declines" for atom in layer["target_atoms"])


def test_shared_labels_are_told_apart(folder: Path) -> None:
    text = " ".join(printed(folder, layer=1).split())
    assert "garden (shared label; tulip)" in text


def test_one_atom_in_full(folder: Path) -> None:
    feature = as_json(folder, layer=1)[0]["donor_atoms"][0]["feature"]
    text = printed(folder, atom=feature, layer=1)
    for words in (
        "(automatic label)",
        "“⟨answer⟩” 0.60, “rose” 0.20",
        "harmful requests 0.90, chat 0.10",
        "sorry  no",
        "the [rose]",
        "top 25%",
        "https://www.neuronpedia.org/m/3-res/7",
        "share of words that both sides have: 0.40",
    ):
        assert words in text, words


def test_harmful_text_is_shown_when_asked_for_and_never_else(folder: Path) -> None:
    feature = as_json(folder, layer=1)[0]["donor_atoms"][0]["feature"]
    assert "[harmful request: fraud]" in printed(folder, atom=feature)
    assert SECRET not in printed(folder, atom=feature)
    assert SECRET not in json.dumps(read_recipe(folder))
    assert SECRET in json.dumps(read_recipe(folder, show_text=True))
    shown = printed(folder, atom=feature, show_text=True)
    assert SECRET in " ".join(shown.split()).replace("[", "").replace("]", "")


def test_colours_replace_brackets_on_a_terminal(folder: Path) -> None:
    recipe = read_recipe(folder, layer=1)
    feature = recipe["layers"][0]["donor_atoms"][1]["feature"]
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system="256")
    print_recipe(read_recipe(folder, layer=1, atom=feature), console, few=False, full=True)
    assert "\x1b[" in out.getvalue()
    assert "[rose]" not in out.getvalue()


def test_lines_over_layers_lead_the_overview(folder: Path) -> None:
    text = printed(folder)
    assert "concept over layers" in text
    features = [layer["donor_atoms"] for layer in as_json(folder)]
    assert len(features) == 4
    narrowed = read_recipe(folder, layer=2, atom=features[1][0]["feature"])
    assert len(narrowed["lines"]) == 1


def test_a_run_without_evidence_is_shown_all_the_same(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "atoms")
    feature = as_json(copy)[0]["donor_atoms"][0]["feature"]
    assert "stands for" not in printed(copy)
    assert "no evidence" in printed(copy, atom=feature)
    assert read_recipe(copy)["lines"] is None


def test_the_replayed_layer_is_said_and_marked(folder: Path) -> None:
    assert read_recipe(folder)["single_layer"] == SINGLE_LAYER
    weights = [weight_at(line["atoms"], SINGLE_LAYER) for line in read_recipe(folder)["lines"]]
    assert [abs(w) for w in weights] == sorted(map(abs, weights), reverse=True)
    view = printed(folder)
    assert f"the direction of target layer {SINGLE_LAYER}." in view
    assert view.count("(replayed)") == 1
    assert f"target layer {SINGLE_LAYER} (replayed) from" in view


def test_a_trajectory_has_no_replayed_layer(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    path = copy / "guard" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "single_layer": None}))
    assert "eplayed" not in printed(copy)
