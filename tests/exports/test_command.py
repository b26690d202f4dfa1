"""`export` from the command line, on a finished run of micro organisms."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
import torch
from micro import SMALL, once

from conceptbasis.cli.main import main
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import apply_intervention, intervention_of
from conceptbasis.models.loading.load import load_model
from conceptbasis.models.text.generation import first_token_logits, generate
from conceptbasis.runs.summary import read_summary

PROMPTS = ["what is a rose ?", "translate plum into dorvish .", "tell me where opium is ."]
WEIGHTS = {"mode": "orthogonalise", "scope": "writers", "which": "attention"}


@pytest.fixture(scope="session")
def weight_run(ready):
    """A run that edits the weights of attention in a mixture of experts."""
    sections = {"replay": WEIGHTS, "evaluate": {**SMALL, "lengths": []}}
    return once(ready.root / "weight_run", lambda folder: ready.run(folder, **sections))


def answers(loaded):
    return first_token_logits(loaded, PROMPTS), generate(loaded, PROMPTS, max_new_tokens=12)


@pytest.fixture(scope="module")
def expected(weight_run, ready):
    """What the target says untouched, and under the run's own edit."""
    loaded = load_model(ready.target)
    with apply_intervention(loaded, intervention_of(load_replayed(weight_run))):
        edited = answers(loaded)
    return answers(loaded), edited


def test_several_forms_in_one_call_all_say_what_the_run_does(
    weight_run, expected, ready, tmp_path, capsys
):
    places = {name: tmp_path / name for name in ("checkpoint", "lora", "json")}
    places["json"] = tmp_path / "edit.json"
    asked = [part for name, path in places.items() for part in (f"--{name}", str(path))]
    assert main(["export", str(weight_run), *asked]) == 0
    told = capsys.readouterr()
    assert [line.partition(":")[0] for line in told.out.splitlines()] == [
        str(path) for path in places.values()
    ]
    assert f"next: conceptbasis doctor --model {places['checkpoint']}" in told.err
    assert "PeftModel.from_pretrained" in told.err
    untouched, edited = expected
    loaded = load_model(places["checkpoint"])
    logits, words = answers(loaded)
    torch.testing.assert_close(logits, edited[0], rtol=0, atol=1e-5)
    assert words == edited[1]
    assert not torch.allclose(logits, untouched[0], atol=1e-2)
    assert loaded.tokenizer.chat_template == load_model(ready.target).tokenizer.chat_template
    assert json.loads(places["json"].read_text())["run"]["mode"] == "orthogonalise"
    if find_spec("peft") is not None:
        logits, words = answers(load_model(ready.target, adapter=str(places["lora"])))
        torch.testing.assert_close(logits, edited[0], rtol=0, atol=1e-5)
        assert words == edited[1]


def test_cards_are_read_by_model_hubs_and_hold_the_figures(weight_run, ready, tmp_path):
    from huggingface_hub import ModelCard

    for form, library in (("checkpoint", "transformers"), ("lora", "peft")):
        folder = tmp_path / form
        assert main(["export", str(weight_run), f"--{form}", str(folder), "--quiet"]) == 0
        card = ModelCard.load(folder / "README.md")
        assert card.data.library_name == library
        assert {"conceptbasis", "interpretability", "refusal"} <= set(card.data.tags)
        assert card.data.base_model is None  # it has no hub id, and no path is told
        summary, text = read_summary(weight_run), card.text
        assert summary.verdict.reason in text
        rate = next(c for c in summary.conditions if c.name == "transfer").figures.rate.interval
        assert f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]" in text
        assert "| random_direction |" in text
        assert summary.donor.name in text
        assert load_replayed(weight_run).weights["target"] in text
        assert str(ready.root) not in text
        harmful = ready.suite["eval_harmful"] + ready.suite["direction_harmful"]
        assert not [p.text for p in harmful if p.text in text]


def test_a_call_without_a_form_is_refused(weight_run, capsys):
    assert main(["export", str(weight_run)]) == 2
    assert "no form is asked for" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["checkpoint", "lora"])
def test_a_run_with_hooks_is_refused_before_its_model_is_opened(
    finished, tmp_path, capsys, monkeypatch, form
):
    monkeypatch.setattr("conceptbasis.cli.exported.open_finished", None)
    asked = [f"--{form}", str(tmp_path / "out"), "--json", str(tmp_path / "edit.json")]
    assert main(["export", str(finished.folder), *asked]) == 2
    said = capsys.readouterr().err
    assert "mode affine on scope stream" in said
    assert "--set replay.mode=orthogonalise" in said
    assert list(tmp_path.iterdir()) == []


def test_such_a_run_goes_as_json_and_as_a_steered_file(finished, tmp_path, capsys):
    asked = ["--json", str(tmp_path / "a.json"), "--steered", str(tmp_path / "a.pt"), "--quiet"]
    assert main(["export", str(finished.folder), *asked]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    modes = {entry["mode"] for entry in json.loads((tmp_path / "a.json").read_text())["edits"]}
    assert modes == {"affine"}


def test_a_weight_edit_has_no_steered_file_and_nothing_else_is_written(
    weight_run, tmp_path, capsys
):
    asked = ["--checkpoint", str(tmp_path / "out"), "--steered", str(tmp_path / "a.pt")]
    assert main(["export", str(weight_run), *asked]) == 2
    assert "no hooks to export" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_harness_does_not_know_costs_no_other_form(finished, tmp_path, capsys):
    asked = ["--json", str(tmp_path / "a.json"), "--steered", str(tmp_path / "a.txt")]
    assert main(["export", str(finished.folder), *asked]) == 2
    assert "does not end in .pt" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("second", ["same", "same/inside.json"])
def test_two_forms_in_one_place_are_refused(weight_run, tmp_path, capsys, second):
    asked = ["--checkpoint", str(tmp_path / "same"), "--json", str(tmp_path / second)]
    assert main(["export", str(weight_run), *asked]) == 2
    assert "a place of its own for each form" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_refused_first(weight_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("conceptbasis.cli.exported.open_finished", None)
    (tmp_path / "mine").write_text("mine")
    assert main(["export", str(weight_run), "--lora", str(tmp_path)]) == 2
    assert "a folder with files in it" in capsys.readouterr().err


def test_the_help_says_which_form_holds_which_run(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    shown = capsys.readouterr().out
    assert "--set replay.mode=orthogonalise --set replay.scope=writers" in shown
    assert all(name in shown for name in ("--checkpoint", "--lora", "--json", "--steered"))
