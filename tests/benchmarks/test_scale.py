"""The reckoning of a large run: list scheduling of graphs that were worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.scale import Pair, Step, durations, schedule, steps_of

GRAPH = [Step("a", (2.0,)), Step("b", (3.0, 3.0, 3.0), ("a",)), Step("c", (1.0,), ("b",))]


@pytest.mark.parametrize(
    ("workers", "ends"),
    [
        (1, {"a": 2, "b": 11, "c": 12}),
        (2, {"a": 2, "b": 8, "c": 9}),  # the third task waits for a worker
        (3, {"a": 2, "b": 5, "c": 6}),
        (30, {"a": 2, "b": 5, "c": 6}),  # no more than there are tasks
    ],
)
def test_a_chain_of_stages(workers, ends):
    assert schedule(GRAPH, workers) == ends


def test_steps_that_need_nothing_of_each_other_run_side_by_side():
    steps = [Step("a", (4.0,)), Step("b", (1.0, 1.0)), Step("c", (1.0,), ("a", "b"))]
    assert schedule(steps, 2) == {"a": 4, "b": 2, "c": 5}
    assert schedule(steps, 1) == {"a": 4, "b": 6, "c": 7}


def test_unequal_tasks_go_to_the_worker_that_is_free_first():
    assert schedule([Step("a", (5.0, 1.0, 1.0, 1.0))], 2) == {"a": 5}
    assert schedule([Step("a", (1.0, 1.0, 1.0, 5.0))], 2) == {"a": 6}  # the longest is last


def test_what_is_sent_comes_before_the_tasks():
    steps = [Step("a", (1.0,)), Step("b", (1.0, 1.0), ("a",), bytes=6e9)]
    ends = schedule(steps, 2, rate=2e9)
    assert ends == {"a": 1, "b": 5}
    assert durations(ends, steps) == {"a": 1, "b": 4}


def test_a_graph_out_of_order_or_without_workers_is_refused():
    with pytest.raises(ValueError, match="c needs b"):
        schedule([GRAPH[0], GRAPH[2]], 1)
    with pytest.raises(ValueError, match="at least one"):
        schedule(GRAPH, 0)


def test_sizes_of_a_small_pair():
    """Three layers, of which only equal depths and neighbours are within reach."""
    pair = Pair(layers=3, latents=10, width=4, sites=5, active=2, parameters=8, reach=0.5)
    assert pair.pairs == 7
    assert pair.residual_bytes == 2 * 3 * 5 * 4 * 4
    assert pair.code_bytes == 2 * 3 * 5 * 2 * 8
    assert pair.sae_bytes == 2 * 3 * 2 * 10 * 4 * 4
    assert pair.model_bytes == 4
    steps = {step.name: step for step in steps_of(pair, train=True)}
    assert len(steps["match"].tasks) == 7
    assert len(steps["train-saes"].tasks) == 6
    assert "train-saes" not in {step.name for step in steps_of(pair, train=False)}
