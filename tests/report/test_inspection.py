"""The recipe in the terminal: joined, ranked, and clear about what does not exist."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conceptbasis.errors import ArtifactError
from conceptbasis.report.atom_views import print_recipe
from conceptbasis.report.inspection import RecipeLayer, read_recipe
from conceptbasis.results.layers import LayerPlan
from conceptbasis.runs.storage import to_json

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import (
    SECRET,
    SHARED_LAYER,
    make_summary,
    stage_results,
    write_run,
    write_stage,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("inspection") / "run")


def layers_of(folder: Path, **options: Any) -> tuple[RecipeLayer, ...]:
    return read_recipe(folder, **options).layers


def as_text(folder: Path, **options: Any) -> str:
    return json.dumps(to_json(read_recipe(folder, **options)))


def printed(folder: Path, **options: Any) -> str:
    out = io.StringIO()
    recipe = read_recipe(folder, **options)
    few, full = "layer" not in options, "atom" in options
    print_recipe(recipe, Console(file=out, width=80), few=few, full=full)
    assert "…" not in out.getvalue().replace("… 4 more", "")
    assert max(len(line) for line in out.getvalue().splitlines()) <= 80
    return out.getvalue()


def test_atoms_are_ranked_and_joined(folder: Path) -> None:
    layers = layers_of(folder)
    assert [layer.target for layer in layers] == [1, 2, 3, 4]
    for layer in layers:
        sizes = [abs(atom.coefficient) for atom in layer.donor_atoms]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(atom.share or 0 for atom in layer.donor_atoms) == pytest.approx(1)
        for atom in layer.donor_atoms:
            assert atom.bounds is not None
            assert atom.bounds[0] < atom.coefficient < atom.bounds[1]
    as_text(folder)


def test_prints_both_sides(folder: Path) -> None:
    (layer,) = layers_of(folder, layer=2)
    text = printed(folder, layer=2)
    best = layer.donor_atoms[0]
    line = next(row for row in text.splitlines() if row.split()[:1] == [str(best.latent)])
    span = f"{best.low:+.1f},{best.high:+.1f}"
    figures = (f"{best.coefficient:+.2f}", span, "0.80", "0.11", ".020/.015", "0.12", "0.91")
    for cell in (*figures, str(best.target_latent)):
        assert cell in line
    assert "target layer 2 from donor layer 2: eligible mass 0.50" in text
    assert "0.34*" in text
    assert "target layer 1" not in text


def test_one_atom(folder: Path) -> None:
    atom = layers_of(folder)[0].donor_atoms[0]
    (layer,) = layers_of(folder, layer=1, atom=atom.latent)
    assert [a.latent for a in layer.donor_atoms] == [atom.latent]
    assert [a.latent for a in layer.target_atoms] == [atom.target_latent]
    assert layer.donor_atoms[0].share == atom.share
    assert str(atom.latent) in printed(folder, atom=atom.latent)


def test_unknown_layer_names_those_that_exist(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no target layer 9") as caught:
        layers_of(folder, layer=9)
    assert caught.value.expected.endswith("1, 2, 3, 4")
    assert "--layer" in caught.value.fix


def test_unknown_atom_names_those_that_exist(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no atom with donor latent 99999") as caught:
        layers_of(folder, layer=2, atom=99999)
    assert str(layers_of(folder, layer=2)[0].donor_atoms[0].latent) in caught.value.expected


def test_missing_stage_and_inconsistent_stages_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        layers_of(tmp_path)
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    (copy / "fit" / "result.json").write_text('{"layers": []}')
    with pytest.raises(ArtifactError, match="has no recipe"):
        layers_of(copy)
    (copy / "fit" / "result.json").write_text('{"layers": [{"target": 1}]}')
    with pytest.raises(ArtifactError, match=r"fit/result.json is corrupt.*0.donor"):
        layers_of(copy)


def rewritten(folder: Path, copy: Path, stage: str, **changes: Any) -> Path:
    """A copy of a run in which fields of one stage's result are others."""
    shutil.copytree(folder, copy)
    write_stage(copy, stage, replace(stage_results(make_summary())[stage], **changes))
    return copy


def test_missing_figures_are_dashes(folder: Path, tmp_path: Path) -> None:
    fit = stage_results(make_summary())["fit"]
    layers = tuple(replace(layer, atoms=()) for layer in fit.layers)
    copy = rewritten(folder, tmp_path / "run", "fit", layers=layers)
    latent = layers_of(folder, layer=2)[0].donor_atoms[1].latent
    rows = [line.split() for line in printed(copy, layer=2).splitlines()]
    row = next(row for row in rows if row[:1] == [str(latent)])
    assert (row[2], row[4], row[5].partition("/")[0], row[-1]) == ("–", "–", "–", "–")


# Evidence


def test_evidence_is_joined_to_both_sides(folder: Path) -> None:
    (layer,) = layers_of(folder, layer=2)
    for atom in layer.donor_atoms:
        assert atom.evidence is not None
        assert atom.target_evidence is not None
        assert atom.evidence.latent == atom.latent
        assert atom.target_evidence.latent == atom.target_latent
        assert atom.guard_overlap == 0.12
    assert all(a.evidence and a.evidence.label == "declines" for a in layer.target_atoms)


def test_shared_labels_are_told_apart(folder: Path) -> None:
    text = " ".join(printed(folder, layer=1).split())
    assert "garden (shared label; tulip)" in text


def test_one_atom_in_full(folder: Path) -> None:
    latent = layers_of(folder, layer=1)[0].donor_atoms[0].latent
    text = printed(folder, atom=latent, layer=1)
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


def test_hidden_text_is_shown_when_asked_for_and_never_else(folder: Path) -> None:
    latent = layers_of(folder, layer=1)[0].donor_atoms[0].latent
    assert "[harmful requests: fraud]" in printed(folder, atom=latent)
    assert SECRET not in printed(folder, atom=latent)
    assert SECRET not in as_text(folder)
    assert SECRET in as_text(folder, show_text=True)
    shown = printed(folder, atom=latent, show_text=True)
    assert SECRET in " ".join(shown.split()).replace("[", "").replace("]", "")


def test_colours_replace_brackets_on_a_terminal(folder: Path) -> None:
    latent = layers_of(folder, layer=1)[0].donor_atoms[1].latent
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system="256")
    print_recipe(read_recipe(folder, layer=1, atom=latent), console, few=False, full=True)
    assert "\x1b[" in out.getvalue()
    assert "[rose]" not in out.getvalue()


def test_flows_over_layers_lead_the_overview(folder: Path) -> None:
    text = printed(folder)
    assert "concept over layers" in text
    layers = layers_of(folder)
    assert len(layers) == 4
    narrowed = read_recipe(folder, layer=2, atom=layers[1].donor_atoms[0].latent)
    assert narrowed.flows is not None
    assert len(narrowed.flows) == 1


def test_a_run_without_evidence_is_shown_all_the_same(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "atoms")
    latent = layers_of(copy)[0].donor_atoms[0].latent
    assert "stands for" not in printed(copy)
    assert "no evidence" in printed(copy, atom=latent)
    assert read_recipe(copy).flows is None


def test_the_layer_that_is_used_everywhere_is_said_and_marked(folder: Path) -> None:
    recipe = read_recipe(folder)
    assert recipe.shared == SHARED_LAYER
    weights = [abs(flow.weight_at(SHARED_LAYER)) for flow in recipe.flows or ()]
    assert weights
    assert weights == sorted(weights, reverse=True)
    view = printed(folder)
    assert f"the direction of target layer {SHARED_LAYER}." in view
    assert view.count("(used at all layers)") == 1
    assert f"target layer {SHARED_LAYER} (used at all layers) from" in view


def test_per_layer_directions_have_no_such_layer(folder: Path, tmp_path: Path) -> None:
    plan = LayerPlan.per_layer(make_summary().plan.layers)
    assert "sed at all" not in printed(rewritten(folder, tmp_path / "run", "transfer", plan=plan))


def test_an_edit_without_target_latents_is_said(folder: Path, tmp_path: Path) -> None:
    assert "names no target latent" not in printed(folder)
    made = stage_results(make_summary())["transfer"]
    rows = tuple(replace(row, target_atoms=()) for row in made.layers)
    copy = rewritten(folder, tmp_path / "run", "transfer", layers=rows)
    assert "The edit names no target latent" in printed(copy)
