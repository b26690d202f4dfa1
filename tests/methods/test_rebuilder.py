"""Moments of the rebuilder: shared by recipes or of one recipe alone, in bounded memory."""

from __future__ import annotations

import multiprocessing
import resource
from types import SimpleNamespace

import pytest
import scipy.sparse
import torch
from steps import Steps

from conceptbasis.core.statistics.moments import StreamingMoments, moments_bytes
from conceptbasis.methods import rebuilder
from conceptbasis.methods.rebuilder import ROUTES, Rebuilder
from conceptbasis.models.loading.memory import Load, maps_bytes
from conceptbasis.study.recipes import recipe_of


def test_large_dictionaries_give_the_same_directions_from_recipe_latents_alone(
    make_study, monkeypatch
):
    steps = Steps(make_study())
    row = steps.recipes.layers[-1]
    pair, recipe, r = (row.target, row.donor), recipe_of(row), steps.direction.per_layer[row.donor]
    n_atoms = max(len(recipe.feature_ids), steps.study.config.transfer.n_atoms)
    shared = {route: steps.rebuilder.rebuild(route, pair, recipe, r) for route in ROUTES}
    made: list[int] = []

    class Counted(StreamingMoments):
        def __init__(self, d_in: int, d_out: int) -> None:
            made.append(d_in)
            super().__init__(d_in, d_out)

    monkeypatch.setattr(rebuilder, "StreamingMoments", Counted)
    monkeypatch.setattr(rebuilder, "SHARED_MOMENTS", 0)
    for route, expected in shared.items():
        alone = steps.rebuilder.rebuild(route, pair, recipe, r)
        assert alone.ridge == expected.ridge
        assert torch.equal(alone.rebuilt.target_ids, expected.rebuilt.target_ids)
        torch.testing.assert_close(alone.rebuilt.direction, expected.rebuilt.direction)
    assert 0 < max(made) <= n_atoms < len(steps.rebuilder.matches[pair].eligible_donor)


class _Sites:
    """Sites with two weights, for `Rebuilder.moments` alone."""

    def __init__(self, n: int) -> None:
        self.n = n

    def rows(self, split: str) -> torch.Tensor:
        return torch.arange(self.n)

    def __call__(self, split: str, share: float) -> torch.Tensor:
        return 1.0 + (torch.arange(self.n) % 2).double()


def _grown(sites: _Sites, x, y, queue) -> None:
    torch.set_num_threads(1)
    study = SimpleNamespace(config=SimpleNamespace(transfer=SimpleNamespace(end_of_prompt_share=1)))
    rebuilder = Rebuilder(study, sites, None, None, sites)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    moments = rebuilder.moments(x, y)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put((1024 * (after - before), float(moments.sum_x.sum())))


def codes(n: int, d: int, density: float) -> scipy.sparse.csr_matrix:
    return scipy.sparse.random(n, d, density, "csr", dtype="float32", random_state=0)


@pytest.mark.parametrize("wide", ["features", "residuals"])
def test_making_moments_takes_what_the_formula_says(wide):
    """Between a third and all of it: of many features, and of many sites of wide residuals."""
    d, n = (2048, 500) if wide == "features" else (16, 60_000)
    x = codes(n, d, 4 / d)
    y = x if wide == "features" else torch.ones(n, 512)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_grown, args=(_Sites(n), x, y, queue))
    process.start()
    grown, total = queue.get()
    process.join()
    weights = 1 + torch.arange(n) % 2
    assert total == pytest.approx(float((x.sum(1).A1 * weights.numpy()).sum()), rel=1e-4)
    load = Load(n, 1, d, 4, 1, 1, peer_d_sae=d, n_atoms=16)
    kept = 2 * moments_bytes(d, 512)  # two of the three that are kept are not made here
    said = maps_bytes(load, 512) - kept
    assert said / 3 < grown < said
