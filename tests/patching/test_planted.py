"""The circuit of a planted head is that head, and a head beside it carries nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from planted_head import MARKERS, pairs, plant

from conceptbasis.errors import ModelError, PromptError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.patching.finding import Measured, Search, find_circuit, prune
from conceptbasis.patching.probes import make_probes
from conceptbasis.patching.tasks.base import TokenPairs
from conceptbasis.results.circuits import Component
from conceptbasis.runs.progress import Reporter

QUIET = Reporter(quiet=True)
SEARCH = Search(n_prompts=24, n_random=10, n_permutations=200)


@pytest.mark.parametrize("place", [(1, 1), (2, 0), (0, 1)])
def test_the_circuit_is_the_planted_head(place):
    loaded = plant(*place)
    circuit, _ = find_circuit(MARKERS, loaded, pairs(loaded, None, 24), SEARCH, QUIET)
    assert circuit.members == (Component(*place),)
    assert circuit.prompts.rate.value == 1.0
    assert circuit.faithfulness.value.value == pytest.approx(1.0, abs=1e-4)
    assert circuit.completeness.value.value == pytest.approx(0.0, abs=0.1)
    effects = {e.component: e.effect for e in circuit.effects}
    assert effects.pop(Component(*place)).low > 0.9
    assert all(abs(e.value) < 1e-5 for e in effects.values())


def test_random_heads_of_the_same_depth_keep_nothing(planted):
    given = pairs(planted, None, 24)
    circuit, check = find_circuit(MARKERS, planted, given, SEARCH, QUIET)
    other = [Component(1, 0)]
    left = check.left([other, list(circuit.members)]).sum(1) / check.span.sum()
    assert left[0] == pytest.approx(1.0, abs=1e-6)  # without another head the task is whole
    assert left[1] < 0.1
    # The only other head at that depth: half of the random sets are the planted head itself.
    assert 0.2 < circuit.faithfulness.random.value < 0.8
    assert circuit.faithfulness.p > 0.1  # so that nothing is claimed where chance does as well


def test_pairs_are_measured_that_did_not_find_the_circuit(planted):
    search, check, n_small = make_probes(planted, pairs(planted, None, 24), "markers")
    inputs = [g.clean.inputs[0] for probe in (search, check) for g in probe.groups]
    rows = [row for part in inputs for row in part.flatten(1)]
    assert len(rows) == 24
    assert n_small == 0
    assert min((a - b).abs().max() for i, a in enumerate(rows) for b in rows[:i]) > 1e-3


def test_a_model_without_the_head_is_refused_with_its_rate(planted):
    blank = copy.deepcopy(planted.model)
    blank.model.layers[1].self_attn.o_proj.weight.data.zero_()
    loaded = replace(planted, model=blank, architecture=resolve(blank))
    with pytest.raises(ModelError, match=r"prefers the right answer on \d+% of 24 prompts"):
        find_circuit(MARKERS, loaded, pairs(loaded, None, 24), SEARCH, QUIET)


def test_too_few_aligned_pairs_are_an_error_that_counts_them(planted):
    few = pairs(planted, None, 4)
    with pytest.raises(PromptError, match=r"4 pairs of the task markers are left.*7 have"):
        make_probes(planted, TokenPairs(few.pairs, (), 7), "markers")


def test_pruning_finds_the_fewest_that_keep_a_share():
    """By hand: components are worth 5, 3, 1 and 1 of 10, so two keep 0.8 and three 0.9."""
    worth = {Component(0, i): w for i, w in enumerate((5.0, 3.0, 1.0, 1.0))}

    class Probe:
        loaded = None

        def without(self, sets):
            return torch.tensor([[10.0 - sum(worth[c] for c in s)] for s in sets])

    found = Measured(Probe(), torch.tensor([10.0]), torch.tensor([0.0]))
    for share, size in ((0.8, 2), (0.81, 3), (0.5, 1), (0.99, 4), (0.05, 1)):
        members, curve = prune(found, list(worth), share)
        assert len(members) == size
        assert dict(curve)[size] >= share
