"""Attention sinks: found by the norms of all tokens, and left alone by planned edits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import Steps

from conceptbasis.config.transfer import ReplaySection
from conceptbasis.edits.intervention import edits_of
from conceptbasis.edits.planning import plan_intervention
from conceptbasis.results.harvest import Norms
from conceptbasis.results.layers import LayerPlan


@pytest.mark.parametrize(
    ("norms", "ratio", "bound"),
    [
        (Norms(10.0, 79.0), 8.0, None),  # nothing is a sink
        (Norms(10.0, 81.0), 8.0, 80.0),
        (Norms(10.0, 81.0), None, None),  # every position is edited
        (Norms(10.0, 81.0), 4.0, 40.0),
    ],
)
def test_a_layer_has_sinks_where_its_highest_norm_is_far_above_the_median(norms, ratio, bound):
    assert norms.bound(ratio) == bound


def test_norms_count_template_tokens_too_and_planned_edits_carry_the_bound(make_study):
    steps = Steps(make_study())
    sites = steps.sites
    own = steps.harvest.norms["target"]
    assert set(own) == set(steps.harvest.layers["target"])
    x = sites.residuals("target", 1).norm(dim=-1)
    assert own[1].highest >= float(x.max()) - 1e-3
    high = replace(sites, norms={"target": {1: Norms(1.0, 100.0), 2: Norms(1.0, 2.0)}})
    r = torch.nn.functional.normalize(torch.ones(40), dim=0)
    plan, section = LayerPlan.per_layer([1, 2]), ReplaySection(sink_ratio=8.0)
    planned = plan_intervention(high, plan, {1: r, 2: r}, section)
    assert planned.max_norms == (8.0, None)
    assert [edit.max_norm for edit in edits_of(planned.restrict([2]))] == [None]
    everywhere = plan_intervention(high, plan, {1: r, 2: r}, ReplaySection(sink_ratio=None))
    assert everywhere.max_norms == (None, None)
