"""Work on several processes gives what one process gives, and its errors are not lost."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from conceptbasis.config.run import RunConfig, load_run_config
from conceptbasis.errors import ConfigError, NumericsError
from conceptbasis.runs import ray_cluster
from conceptbasis.runs.executor import EXECUTORS, Executor, Processes, run_all, working
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.where import Where


def scale(shared: Tensor, item: int) -> tuple[int, list[float]]:
    return os.getpid(), (shared * item).tolist()


def refuse_three(shared: None, item: int) -> int:
    if item == 3:
        raise NumericsError("three is bad", expected="another", fix="change it")
    return item


def results(workers: int, device: str = "cpu", n: int = 6) -> dict[int, tuple[int, list[float]]]:
    shared, items = torch.arange(3.0), list(range(10, 10 + n))
    return dict(run_all(scale, shared, items, workers=workers, device=device))


def test_several_workers_give_what_one_gives():
    one, two = results(1), results(2)
    assert {i: r for i, (_, r) in one.items()} == {i: r for i, (_, r) in two.items()}
    assert one[2][1] == [0.0, 12.0, 24.0]
    assert {pid for pid, _ in one.values()} == {os.getpid()}
    assert os.getpid() not in {pid for pid, _ in two.values()}


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_every_way_to_start_a_process_gives_the_same(start):
    found = dict(Processes(start)(scale, torch.arange(3.0), [10, 11, 12], 2))
    assert {i: r for i, (_, r) in found.items()} == {i: r for i, (_, r) in results(1, n=3).items()}
    assert os.getpid() not in {pid for pid, _ in found.values()}


def test_nothing_of_the_parent_remains_after_a_map():
    """A forked worker inherits its arguments, and no state that another map left behind."""
    from conceptbasis.runs import executor

    results(2)
    results(1)
    assert executor._STATE == {}


def test_a_function_that_cannot_be_sent_is_refused():
    def inner(shared, item):
        return item

    for function in (lambda shared, item: item, inner, partial(inner, 1)):
        for workers in (1, 2):
            with pytest.raises(TypeError, match="cannot be sent to another process; give a func"):
                list(run_all(function, None, [1, 2], workers=workers, device="cpu"))


def test_an_executor_of_ones_own_is_one_entry(monkeypatch):
    def backwards(function, shared, items, workers) -> Iterator[tuple[int, object]]:
        for index in reversed(range(len(items))):
            yield index, function(shared, items[index])

    own: Executor = backwards
    monkeypatch.setitem(EXECUTORS, "processes", own)
    assert list(results(2, n=3)) == [2, 1, 0]


def test_an_accelerator_is_not_forked():
    assert {pid for pid, _ in results(2, "cuda").values()} == {os.getpid()}
    assert {pid for pid, _ in results(2, n=1).values()} == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_keeps_its_words(workers):
    with pytest.raises(NumericsError, match="three is bad") as caught:
        list(run_all(refuse_three, None, [1, 2, 3, 4], workers=workers, device="cpu"))
    assert caught.value.fix == "change it"


def test_nothing_to_do():
    assert list(run_all(scale, torch.zeros(1), [], workers=2, device="cpu")) == []


def test_a_run_names_its_executor():
    with working(Where("serial")):
        assert {pid for pid, _ in results(2).values()} == {os.getpid()}
    assert os.getpid() not in {pid for pid, _ in results(2).values()}


def test_an_unknown_executor_is_an_error_that_names_the_right_one():
    with (
        pytest.raises(ConfigError, match=r"'proceses'\n.*'processes'\?"),
        working(Where("proceses")),
    ):
        pass


def test_without_ray_its_executor_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with (
        pytest.raises(ConfigError, match=r"install 'conceptbasis\[ray\]'"),
        working(Where("ray")),
    ):
        pass


def test_an_address_of_ray_needs_its_executor():
    assert RunConfig(executor="ray", ray_address="head:6379").ray_address == "head:6379"
    for given in ([], ["executor=serial"]):
        with pytest.raises(ConfigError, match="needs the executor ray"):
            load_run_config(None, [*given, "ray_address=head:6379"])


def test_a_reporter_is_sent_without_its_listener():
    listener = lambda *_: None  # noqa: E731  # cannot be pickled, as a log cannot
    reporter = Reporter(quiet=True).heard_by(listener)
    assert pickle.loads(pickle.dumps(reporter))._listener is None
    assert reporter._listener is listener
