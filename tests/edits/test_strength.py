"""A strength from benign text alone: it keeps its bound, and reads nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from steps import harvest_of

from conceptbasis.config.budgets import request_classes
from conceptbasis.edits import strength as module
from conceptbasis.edits.intervention import apply_intervention, edits_of, plan_intervention
from conceptbasis.edits.strength import Strength, benign_requests, settle
from conceptbasis.errors import InterventionError, PromptError
from conceptbasis.models.stream.native import first_token_kl
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.stages.replay import _require_strength, load_intervention

RAISE = {"mode": "raise", "gamma": "auto"}
LAYERS = (1, 2)


def unit(seed: int) -> torch.Tensor:
    x = torch.randn(1, 40, generator=torch.Generator().manual_seed(seed))
    return (x / x.norm()).expand(len(LAYERS), 40)


@pytest.fixture
def made(make_study):
    def make(**replay):
        study = make_study(budget="B0d", replay={**RAISE, **replay})
        return study, harvest_of(study)

    return make


def planned(study, harvest, seed=0):
    return plan_intervention(harvest, LAYERS, unit(seed), study.config.replay)


def kl_of(study, harvest, intervention):
    loaded, found = study.target.loaded, []
    for group in benign_requests(harvest):
        before = first_token_logits(loaded, group)
        with apply_intervention(loaded, intervention):
            found.append(float(first_token_kl(before, first_token_logits(loaded, group)).mean()))
    return max(found)


def test_the_bound_holds_and_a_larger_one_allows_more(made):
    study, harvest = made(benign_kl=0.01)
    few, found = settle(study, harvest, planned(study, harvest))
    assert found.reached
    assert 0 < found.benign_kl <= 0.01
    assert kl_of(study, harvest, few) == pytest.approx(found.benign_kl, rel=1e-3)
    assert kl_of(study, harvest, few.scaled(1.2)) > 0.01
    assert few.gamma == pytest.approx(-found.value)
    assert "0.01 nats allowed" in found.describe()
    more_study, _ = made(benign_kl=0.05)
    more, _ = settle(more_study, harvest, planned(study, harvest))
    assert more.gamma < few.gamma


def test_a_strength_that_was_given_stays(made):
    study, harvest = made(gamma=-0.7)
    whole = planned(study, harvest)
    assert settle(study, harvest, whole) == (whole, None)
    assert whole.gamma == -0.7


def test_only_benign_requests_of_the_selection_split_are_read(made, monkeypatch):
    study, harvest = made()
    seen: set[str] = set()

    def listen(loaded, prompts):
        seen.update(prompts)
        return first_token_logits(loaded, prompts)

    monkeypatch.setattr(module, "first_token_logits", listen)
    settle(study, harvest, planned(study, harvest))
    allowed = {
        t.content[0][1]
        for t in harvest.split_texts("select")
        if t.text_class in (*request_classes(), "declines") and not isinstance(t.content, str)
    }
    assert seen
    assert seen <= allowed
    evaluated = {p.text for name in study.suite.prompts for p in study.suite[name]}
    assert not seen & evaluated


def test_benign_requests_at_or_below_the_threshold_stay_by_construction(made):
    """With the threshold at the highest reading nothing of the fitted requests moves; with a lower
    one some do."""
    for threshold, untouched in ((1.0, True), (0.5, False)):
        study, harvest = made(threshold=threshold)
        x = harvest.benign_ends("fit", LAYERS[0])
        edit = edits_of(planned(study, harvest))[0]
        reading = (x - edit.mean) @ edit.gate
        above = float((reading > edit.threshold + 1e-4).float().mean())
        assert (above == 0) is untouched


def test_gates_and_thresholds_come_from_benign_requests_where_they_end(made):
    study, harvest = made(threshold=0.75, benign_shrinkage=None)
    whole = planned(study, harvest)
    x = harvest.benign_ends("fit", LAYERS[0])
    along = (x - x.mean(0)) @ whole.directions[0]
    assert torch.allclose(whole.gates[0], whole.directions[0], atol=1e-5)
    assert whole.thresholds[0] == pytest.approx(float(along.quantile(0.75)), abs=1e-3)


def test_shared_text_without_requests_is_an_error(made):
    study, harvest = made()
    none = replace(harvest, texts=[replace(t, text_class="mentions") for t in harvest.texts])
    with pytest.raises(PromptError, match="no benign request"):
        settle(study, none, planned(study, harvest))


def test_no_strength_within_the_bound_is_an_error():
    with pytest.raises(InterventionError, match="no strength holds"):
        _require_strength(Strength(0.0, 0.0, 0.02, True, 10))
    _require_strength(Strength(0.1, 0.01, 0.02, True, 10))


def test_a_whole_run_keeps_what_it_found(ready, sides, tmp_path):
    few = {"n_prompts": 12, "controls": False, "baselines": []}
    finished = ready.run(tmp_path / "run", replay=RAISE, evaluate=few)
    intervention, output = load_intervention(tmp_path / "run")
    found = output.result["strength"]
    assert intervention.gamma == -found["value"] < 0
    assert finished.summary["gamma"] == intervention.gamma
    assert min(intervention.layers) >= output.result["single_layer"]
    assert len(intervention.thresholds) == len(intervention.gates) == len(intervention.layers)
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["thresholds"] == list(intervention.thresholds)
    prompts = ["what is a rose ?", "tell me where opium is ."]
    before = first_token_logits(sides.target.loaded, prompts)
    with apply_intervention(sides.target.loaded, intervention) as report:
        assert report.stream[0] == len(intervention.layers)
    assert torch.equal(first_token_logits(sides.target.loaded, prompts), before)
