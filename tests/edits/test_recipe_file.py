"""A portable recipe does what its run does, on the model it is for, and on no other."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from steps import Steps

import conceptbasis
from conceptbasis.edits.recipe_file import RECIPE, RECIPE_TENSORS, load_recipe
from conceptbasis.errors import ArtifactError, InterventionError
from conceptbasis.evaluation.summary import write_recipe
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Replayed
from conceptbasis.runs.files import file_hash, save_tensors, value_hash

PROMPTS = ["what is a rose ?", "tell me where opium is .", "translate plum into dorvish ."]


@pytest.fixture
def alone(finished, tmp_path):
    """The two files of the finished run in a folder of their own."""
    for name in (RECIPE, RECIPE_TENSORS):
        shutil.copy(finished.folder / name, tmp_path / name)
    return tmp_path


def logits(side) -> torch.Tensor:
    return first_token_logits(side.loaded, PROMPTS)


def test_two_files_edit_as_the_run_does_to_the_bit(alone, finished, sides):
    plain, model = logits(sides.target), sides.target.loaded.model
    with conceptbasis.replay(model, finished.folder):
        expected = logits(sides.target)
    recipe = conceptbasis.load_recipe(alone / RECIPE)
    with recipe.apply(model) as report:
        assert torch.equal(logits(sides.target), expected)
    assert "stream" in str(report)
    assert not torch.equal(expected, plain)
    assert torch.equal(logits(sides.target), plain)
    assert recipe.layers == finished.summary.plan.layers
    assert conceptbasis.load_recipe(alone).target == recipe.target


@pytest.mark.parametrize(
    "replay",
    [
        {"mode": "orthogonalise", "scope": "writers", "which": "attention"},
        {"mode": "raise", "gamma": -1.0},
        {"mode": "add", "alpha": 2.0},
    ],
)
def test_every_form_of_edit_can_be_carried(make_study, sides, replay):
    steps = Steps(make_study(replay=replay))
    steps.get(Replayed)
    write_recipe(steps.study, steps.graph)
    folder, model = steps.study.folder, sides.target.loaded.model
    with conceptbasis.replay(model, folder):
        expected = logits(sides.target)
    recipe = load_recipe(folder)
    with recipe.apply(model):
        assert torch.equal(logits(sides.target), expected)
    with recipe.apply(model, gamma=0.5), torch.no_grad():
        assert not torch.equal(logits(sides.target), expected)


def test_another_model_is_refused_by_name_unless_the_check_is_left_out(alone, sides):
    recipe, model = load_recipe(alone), sides.target.loaded.model
    with pytest.raises(InterventionError, match="is the donor of"):
        recipe.apply(sides.donor.loaded.model)
    weight = next(model.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.add_(0.01)
    try:
        with pytest.raises(InterventionError, match="check=False"):
            recipe.apply(model)
        before = logits(sides.target)
        with recipe.apply(model, check=False):
            assert not torch.equal(logits(sides.target), before)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_files_that_were_changed_or_are_older_are_errors(alone):
    content = json.loads((alone / RECIPE).read_text())
    (alone / RECIPE).write_text(json.dumps({**content, "gamma": 2.0}))
    with pytest.raises(ArtifactError, match="its hash"):
        load_recipe(alone)
    older = {key: value for key, value in content.items() if key != "tensors"}
    (alone / RECIPE).write_text(json.dumps(older))
    with pytest.raises(ArtifactError, match="older version"):
        load_recipe(alone)
    (alone / RECIPE).write_text(json.dumps(content))
    raw = bytearray((alone / RECIPE_TENSORS).read_bytes())
    raw[-1] ^= 1
    (alone / RECIPE_TENSORS).write_bytes(raw)
    with pytest.raises(ArtifactError, match="not the one that recipe"):
        load_recipe(alone)
    (alone / RECIPE_TENSORS).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_recipe(alone)


@pytest.mark.parametrize("schema", [0, None, "4", True])
def test_a_recipe_of_another_schema_is_refused_though_its_hash_is_right(alone, schema):
    content = json.loads((alone / RECIPE).read_text())
    load_recipe(alone)  # the control
    changed = {k: v for k, v in content.items() if k != "hash"} | {"schema": schema}
    (alone / RECIPE).write_text(json.dumps({**changed, "hash": value_hash(changed)}))
    with pytest.raises(ArtifactError, match=r"of another version \(schema"):
        load_recipe(alone)


def test_a_recipe_without_its_directions_is_named(alone):
    save_tensors(alone / RECIPE_TENSORS, {"steering": torch.zeros(2)})
    content = json.loads((alone / RECIPE).read_text())
    changed = {k: v for k, v in content.items() if k != "hash"}
    changed["tensors"] = file_hash(alone / RECIPE_TENSORS)
    (alone / RECIPE).write_text(json.dumps({**changed, "hash": value_hash(changed)}))
    with pytest.raises(ArtifactError, match="does not hold directions, means"):
        load_recipe(alone)
