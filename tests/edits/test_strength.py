"""A strength from benign text alone: it keeps its bound, and reads nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from steps import Steps

from conceptbasis.config.budgets import request_classes
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.edits import strength as module
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import (
    apply_intervention,
    edits_of,
    intervention_of,
)
from conceptbasis.edits.planning import lowered, plan_intervention
from conceptbasis.edits.strength import benign_requests, describe, require_strength, settle
from conceptbasis.errors import InterventionError, PromptError
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Strength
from conceptbasis.results.layers import LayerPlan

RAISE = {"mode": "raise", "gamma": "auto"}
CAP = {"mode": "cap", "gamma": 1.0, "centre": "all", "offset": "auto"}
LAYERS = (1, 2)


def unit(seed: int) -> torch.Tensor:
    x = torch.randn(1, 40, generator=torch.Generator().manual_seed(seed))
    return (x / x.norm())[0]


@pytest.fixture
def made(make_study):
    def make(**replay):
        study = make_study(budget="B0d", replay={**RAISE, **replay})
        return study, Steps(study).sites

    return make


def planned(study, sites, seed=0):
    plan, by_layer = LayerPlan.per_layer(LAYERS), dict.fromkeys(LAYERS, unit(seed))
    return plan_intervention(sites, plan, by_layer, study.config.replay)


def kl_of(study, sites, intervention):
    loaded, found = study.target.loaded, []
    groups = benign_requests(sites, study.behavior.neighbour)
    for group in groups if intervention.mode == "raise" else groups[:1]:
        before = first_token_logits(loaded, group)
        with apply_intervention(loaded, intervention):
            found.append(float(first_token_kl(before, first_token_logits(loaded, group)).mean()))
    return max(found)


def test_the_bound_holds_and_a_larger_one_allows_more(made):
    study, sites = made(benign_kl=0.01)
    few, found = settle(study, sites, planned(study, sites))
    assert found.reached
    assert 0 < found.benign_kl <= 0.01
    assert kl_of(study, sites, few) == pytest.approx(found.benign_kl, rel=1e-3)
    assert kl_of(study, sites, few.scaled(1.2)) > 0.01
    assert few.gamma == pytest.approx(-found.value)
    assert "0.01 nats allowed" in describe(found)
    more_study, _ = made(benign_kl=0.05)
    more, _ = settle(more_study, sites, planned(study, sites))
    assert more.gamma < few.gamma


def test_the_largest_offset_within_the_bound_is_found(made):
    study, sites = made(**CAP, benign_kl=0.02)
    start = planned(study, sites)
    at_zero, _ = made(**CAP | {"offset": 0.0})
    assert torch.equal(start.means, planned(at_zero, sites).means)
    found, strength = settle(study, sites, start)
    assert strength.setting == "offset"
    assert 0 < strength.value < 3
    assert strength.reached
    assert kl_of(study, sites, found) == pytest.approx(strength.benign_kl, rel=1e-3)
    assert strength.benign_kl <= 0.02 < kl_of(study, sites, lowered(sites, start, 3.0))
    given, _ = made(**CAP | {"offset": strength.value})
    torch.testing.assert_close(found.means, planned(given, sites).means)
    assert f"offset {strength.value:.3g} standard deviations" in describe(strength)


def test_an_offset_stops_at_the_largest_tried_or_at_none(made):
    """A loose bound allows any offset, a tight one not even the edit itself."""
    study, sites = made(**CAP, benign_kl=50.0)
    _, loose = settle(study, sites, planned(study, sites))
    assert (loose.value, loose.reached) == (3.0, False)
    require_strength(loose)
    study, sites = made(**CAP, benign_kl=1e-9)
    edit, tight = settle(study, sites, planned(study, sites))
    assert tight.value == 0
    assert tight.benign_kl == pytest.approx(kl_of(study, sites, edit), rel=1e-3)
    with pytest.raises(InterventionError, match="no offset holds"):
        require_strength(tight)


def test_only_cap_finds_an_offset():
    with pytest.raises(ValidationError, match="not affine"):
        ReplaySection(mode="affine", offset="auto")


def test_a_strength_that_was_given_stays(made):
    study, sites = made(gamma=-0.7)
    whole = planned(study, sites)
    assert settle(study, sites, whole) == (whole, None)
    assert whole.gamma == -0.7


@pytest.mark.parametrize(("form", "also"), [({}, ("declines",)), (CAP, ())])
def test_only_benign_requests_of_the_selection_split_are_read(made, monkeypatch, form, also):
    """What removes the behavior moves polite noes first, so they are no bound on it."""
    study, sites = made(**form)
    seen: set[str] = set()

    def listen(loaded, prompts):
        seen.update(prompts)
        return first_token_logits(loaded, prompts)

    monkeypatch.setattr(module, "first_token_logits", listen)
    settle(study, sites, planned(study, sites))
    allowed = {
        t.content[0][1]
        for t in sites.split_texts("select")
        if t.text_class in (*request_classes(), *also) and not isinstance(t.content, str)
    }
    assert seen == allowed
    evaluated = {p.text for name in study.suite.prompts for p in study.suite[name]}
    assert not seen & evaluated


def test_benign_requests_at_or_below_the_threshold_stay_by_construction(made):
    """With the threshold at the highest reading nothing of the fitted requests moves; with a lower
    one some do."""
    for threshold, untouched in ((1.0, True), (0.5, False)):
        study, sites = made(threshold=threshold)
        x = sites.benign_ends("fit", LAYERS[0])
        edit = edits_of(planned(study, sites))[0]
        reading = (x - edit.mean) @ edit.gate
        above = float((reading > edit.threshold + 1e-4).float().mean())
        assert (above == 0) is untouched


def test_gates_and_thresholds_come_from_benign_requests_where_they_end(made):
    study, sites = made(threshold=0.75, benign_shrinkage=None)
    whole = planned(study, sites)
    x = sites.benign_ends("fit", LAYERS[0])
    along = (x - x.mean(0)) @ whole.directions[0]
    assert torch.allclose(whole.gates[0], whole.directions[0], atol=1e-5)
    assert whole.thresholds[0] == pytest.approx(float(along.quantile(0.75)), abs=1e-3)


def test_shared_text_without_requests_is_an_error(made):
    study, sites = made()
    none = replace(sites, texts=[replace(t, text_class="mentions") for t in sites.texts])
    with pytest.raises(PromptError, match="no benign request"):
        settle(study, none, planned(study, sites))


def test_no_strength_within_the_bound_is_an_error():
    with pytest.raises(InterventionError, match="no gamma holds"):
        require_strength(Strength("gamma", 0.0, 0.0, 0.02, True, 10))
    require_strength(Strength("gamma", 0.1, 0.01, 0.02, True, 10))


def test_a_whole_run_keeps_what_it_found(ready, sides, tmp_path):
    few = {"n_prompts": 12, "controls": False, "baselines": []}
    finished = ready.run(tmp_path / "run", replay=RAISE, evaluate=few)
    replayed = load_replayed(tmp_path / "run")
    intervention, found = intervention_of(replayed), replayed.strength
    assert found is not None
    assert intervention.gamma == -found.value < 0
    assert finished.summary.gamma == intervention.gamma
    assert min(intervention.layers) >= replayed.plan.sources[0]
    assert len(replayed.plan.sources) == 1
    assert len(intervention.thresholds) == len(intervention.gates) == len(intervention.layers)
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["thresholds"] == list(intervention.thresholds)
    prompts = ["what is a rose ?", "tell me where opium is ."]
    before = first_token_logits(sides.target.loaded, prompts)
    with apply_intervention(sides.target.loaded, intervention) as report:
        assert report.stream[0] == len(intervention.layers)
    assert torch.equal(first_token_logits(sides.target.loaded, prompts), before)
