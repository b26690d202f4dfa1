"""What a run gives in a notebook is what lies in its folder, and says so in few words."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import conceptbasis as cb
from conceptbasis.errors import ArtifactError, ConfigError, InterventionError
from conceptbasis.results.edit import Replayed
from conceptbasis.results.evaluation import Evaluation
from conceptbasis.results.recipe import RecipeSet
from conceptbasis.runs.graph import load_result


@pytest.fixture(scope="module")
def run(finished):
    return cb.load_run(finished.folder)


def modules_after(code: str) -> set[str]:
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {*done.stdout.split()}


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "pydantic", "yaml", "scipy"}
    assert not modules_after("import conceptbasis as cb; dir(cb)") & heavy


def test_frames_need_no_tensor_library(finished):
    code = f"import conceptbasis as cb; run = cb.load_run({str(finished.folder)!r}); "
    code += "run.recipe, run.atoms, run.layers, run.conditions, run.answers(), run._repr_html_()"
    found = modules_after(code)
    assert "torch" not in found
    assert "pandas" in found


def test_every_public_name_is_there_and_an_unknown_one_is_an_error():
    assert all(getattr(cb, name) is not None for name in cb.__all__)
    assert {*cb.__all__} <= {*dir(cb)}
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        cb.nothing_of_this_name  # noqa: B018


def test_without_pandas_an_error_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"conceptbasis\[notebook\]"):
        cb.judge(["yes"])


def test_the_recipe_is_that_of_the_fit(run):
    fitted = load_result(run.folder, "fit", RecipeSet, tensors=False)
    expected = {(r.target, a.latent): a.coefficient for r in fitted.layers for a in r.atoms}
    keys = zip(run.recipe.layer, run.recipe.latent, strict=True)
    assert dict(zip(keys, run.recipe.coefficient, strict=True)) == expected
    assert (run.recipe.low <= run.recipe.high).all()
    assert run.recipe.target_label.notna().equals(run.recipe.target_latent.notna())


def test_conditions_are_those_of_the_summary(run):
    rate = run.conditions["refusal"]
    for condition in run.summary.conditions:
        found = condition.figures.rate.interval
        assert rate.loc[condition.name].tolist() == [found.value, found.low, found.high, found.n]
    assert list(run.conditions["perplexity"].columns) == ["value"]


def test_atoms_cover_the_recipe_and_hide_hidden_text(run):
    donor = run.atoms[run.atoms.side == "donor"]
    recipe = {*zip(run.recipe.layer, run.recipe.latent, strict=True)}
    assert recipe <= {*zip(donor.layer, donor.latent, strict=True)}
    assert run.atoms.example.str.startswith("[").any()


def test_matches_and_layers_agree(run):
    counts = run.matches.groupby(["layer", "donor_layer"]).size()
    for row in run.layers.itertuples():
        assert counts[row.layer, row.donor_layer] == row.n_matches
    assert [*run.layers[run.layers.edited].layer] == [*run.directions]


def test_answers_are_redacted_unless_text_is_asked_for(run):
    stored = load_result(run.folder, "evaluate", Evaluation).examples
    hidden, shown = run.answers(), run.answers(show_text=True)
    assert shown.answer.tolist() == [e.answer for e in stored]
    assert hidden.prompt.tolist() == shown.prompt.tolist() == [e.prompt for e in stored]
    assert hidden.answer.str.fullmatch(r"\[\w+(, \d+ words)?\]").all()
    assert cb.judge(shown.answer).kind.tolist() == shown.kind.tolist()


def test_what_a_notebook_shows(run):
    assert len(repr(run)) < 100 + len(str(run.folder))
    html = run._repr_html_()
    assert run.summary.verdict.word in html
    assert html.count("<tr>") > 5
    assert "<script" not in html


def logits(model):
    with torch.no_grad():
        return model(torch.arange(3, 13)[None]).logits


def test_replay_is_the_edit_of_the_run_and_leaves_the_model_as_it_was(run, sides):
    model = sides.target.loaded.model
    before = logits(model)
    with run.replay(model) as edited, torch.no_grad():
        inside = logits(model)
    with cb.replay(model, run.folder) as same:
        assert str(same) == str(edited)
        assert torch.equal(logits(model), inside)
    assert torch.equal(logits(model), before)
    assert not torch.equal(inside, before)


def test_strength_and_layers_change_the_edit(run, sides):
    model = sides.target.loaded.model
    before = logits(model)
    with run.replay(model, gamma=0.0):
        assert torch.allclose(logits(model), before, atol=1e-4)
    first = min(run.directions)
    with run.replay(model, layers=[first]) as edited:
        assert str(edited).startswith("1/3 stream")
        once = logits(model)
    with run.replay(model, gamma=2.0, layers=[first]):
        assert not torch.allclose(logits(model), once, atol=1e-4)
    with pytest.raises(InterventionError, match="edited"):
        run.replay(model, layers=[99])


def test_another_model_is_refused_by_name(run, sides):
    with pytest.raises(InterventionError, match="is the donor of this run") as caught:
        run.replay(sides.donor.loaded.model)
    assert str(run.summary.target.model) in str(caught.value)


def test_an_unknown_model_is_edited_when_asked_to(run, sides):
    other = copy.deepcopy(sides.target.loaded.model)
    with torch.no_grad():
        other.lm_head.weight[0] += 1
    with pytest.raises(InterventionError, match="not the target"):
        run.replay(other)
    with run.replay(other, check=False) as edited:
        assert str(edited).startswith("3/3 stream")


def test_directions_are_those_of_the_replay(run):
    found = load_result(run.folder, "replay", Replayed)
    assert torch.equal(torch.stack([*run.directions.values()]), found.directions)


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(ArtifactError):
        cb.load_run(tmp_path)


def test_models_are_named_by_file_keys_or_id():
    from conceptbasis.api.work import as_model_config, run_config

    assert as_model_config("Qwen/Qwen3-0.6B").name == "Qwen3-0.6B"
    assert as_model_config({"model": "organism:llama:0"}).name == "organism-llama-0"
    again = as_model_config({"name": "a", "model": "./b"})
    assert as_model_config(again) is again
    with pytest.raises(ConfigError, match="no_such_key"):
        as_model_config({"model": "a", "no_such_key": 1})
    laid = run_config({"replay": {"gamma": 2.0}}, {"replay": {"mode": "affine"}, "seed": 3})
    assert (laid.replay.gamma, laid.replay.mode, laid.seed) == (2.0, "affine", 3)
    assert run_config(laid, {"seed": 4}).replay == laid.replay
    with pytest.raises(ConfigError, match="no_such_key"):
        run_config(None, {"no_such_key": 1})


def test_judging_says_what_it_cannot_tell():
    judged = cb.judge(["", "a banana is a fruit ."])
    assert judged.kind.tolist() == ["empty", "answer"]
    assert judged.verdict.isna().tolist() == [True, False]
    assert len(cb.judge([])) == 0
    with pytest.raises(ConfigError, match="first_logits"):
        cb.judge(["yes"], judge="first_token")
    with pytest.raises(ConfigError, match="unknown judge"):
        cb.judge(["yes"], judge="nobody")


def test_the_runs_own_directions_measure_as_the_transfer_does(run):
    found = run.evaluate({"mine": run.directions}, n_prompts=6, quiet=True)
    assert list(found.index) == ["baseline", "transfer", "mine"]
    assert found.loc["mine"].equals(found.loc["transfer"])
    assert found.loc["baseline", ("kl_first_token/mean", "value")] == pytest.approx(0, abs=1e-6)
    assert found.loc["mine", ("kl_first_token/mean", "value")] > 1e-4
    assert found["refusal"].loc["mine", "n"] <= 6


def test_directions_that_do_not_fit_are_an_error(run):
    width = len(run.directions[min(run.directions)])
    for given, said in (
        ({99: torch.ones(width)}, "layers"),
        ({}, "layers"),
        (torch.ones(width + 1), "width"),
        (torch.zeros(width), "length 0"),
        (torch.full((width,), float("nan")), "not finite"),
    ):
        with pytest.raises(InterventionError, match=said):
            run.evaluate({"mine": given}, quiet=True)


def test_a_rejected_run_has_empty_conditions_and_all_the_rest(run):
    summary = replace(run.summary, conditions=(), curve=None, primary_judge=None)
    rejected = cb.Run(run.folder, summary)
    assert len(rejected.conditions) == 0
    assert "<table>" in rejected._repr_html_()
    assert rejected.recipe.equals(run.recipe)
