"""A dose is the size of what an edit changes; edits that work along any direction are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import Steps

from conceptbasis.config.budgets import request_classes
from conceptbasis.edits.dose import describe_dose, measure_dose, require_specific
from conceptbasis.edits.planning import plan_intervention
from conceptbasis.errors import InterventionError
from conceptbasis.results.edit import Dose
from conceptbasis.results.layers import LayerPlan

LAYERS = (1, 2)


def unit(seed: int) -> torch.Tensor:
    x = torch.randn(40, generator=torch.Generator().manual_seed(seed))
    return x / x.norm()


@pytest.fixture
def made(make_study):
    def make(**replay):
        study = make_study(budget="B0d", replay=replay)
        sites = Steps(study).sites
        plan, by_layer = LayerPlan.per_layer(LAYERS), dict.fromkeys(LAYERS, unit(0))
        return study, sites, plan_intervention(sites, plan, by_layer, study.config.replay)

    return make


def test_the_size_is_that_of_the_component_as_a_share_of_the_stream(made):
    study, sites, edit = made(mode="ablate", sink_ratio=None)
    dose = measure_dose(study, sites, edit)
    for layer, found in zip(LAYERS, dose.relative, strict=True):
        x = sites.residuals("target", layer)[sites.benign_rows].double()
        expected = (x @ unit(0).double()).square().mean().sqrt() / x.square().sum(1).mean().sqrt()
        assert found == pytest.approx(float(expected), rel=1e-4)
    half = measure_dose(study, sites, replace(edit, gamma=0.5))
    assert half.relative == pytest.approx([0.5 * d for d in dose.relative], rel=1e-4)
    assert half.kl < dose.kl


def test_nothing_edited_has_no_dose_and_weights_have_no_size(made):
    study, sites, edit = made(mode="affine")
    nothing = measure_dose(study, sites, replace(edit, gamma=0.0))
    assert nothing.relative == pytest.approx((0, 0), abs=1e-6)
    assert nothing.kl == pytest.approx(0, abs=1e-6)
    study, sites, edit = made(mode="orthogonalise", scope="writers")
    assert measure_dose(study, sites, edit).relative == ()


def test_an_edit_that_breaks_the_model_along_any_direction_is_refused(made):
    study, sites, edit = made(mode="add", alpha=-400.0)
    dose = measure_dose(study, sites, edit)
    with pytest.raises(InterventionError, match="its direction is not the cause"):
        require_specific(dose, 0.1 * dose.random_kl)
    require_specific(dose, 1.1 * dose.random_kl)
    mild = measure_dose(*made(mode="affine"))
    assert mild.random_kl < dose.random_kl


def test_without_benign_requests_there_is_no_dose(made):
    study, sites, edit = made(mode="affine")
    others = [t for t in sites.texts if t.text_class not in request_classes()]
    kept = torch.tensor([t in others for t in sites.texts])
    rows = kept[sites.text]
    few = replace(
        sites, **{k: getattr(sites, k)[rows] for k in ("text", "message", "offset", "split")}
    )
    assert measure_dose(study, few, edit) is None


def test_what_is_said():
    said = describe_dose(Dose((0.02, 0.05), 0.08, 0.01, 64))
    assert said == (
        "dose: 2.0% to 5.0% of the stream a layer; first-token KL 0.08 nats on 64 benign requests, "
        "0.01 along random directions"
    )
    assert "stream" not in describe_dose(Dose((), 0.08, 0.01, 64))
