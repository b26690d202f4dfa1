"""Work on several processes gives what one process gives, and its errors are not lost."""

from __future__ import annotations

import os

import pytest
import torch

from conceptbasis.errors import NumericsError
from conceptbasis.runs.executor import map_unordered


def results(n_workers: int, device: str = "cpu", n: int = 6) -> dict[int, tuple[int, list[float]]]:
    def work(i):
        return os.getpid(), (torch.arange(3.0) * i).tolist()

    return dict(map_unordered(work, list(range(10, 10 + n)), n_workers=n_workers, device=device))


def test_several_workers_give_what_one_gives():
    one, two = results(1), results(2)
    assert {i: r for i, (_, r) in one.items()} == {i: r for i, (_, r) in two.items()}
    assert one[2][1] == [0.0, 12.0, 24.0]
    assert {pid for pid, _ in one.values()} == {os.getpid()}
    assert os.getpid() not in {pid for pid, _ in two.values()}


def test_an_accelerator_is_not_forked():
    assert {pid for pid, _ in results(2, "cuda").values()} == {os.getpid()}
    assert {pid for pid, _ in results(2, n=1).values()} == {os.getpid()}


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_error_of_a_worker_keeps_its_words(n_workers):
    def work(i):
        if i == 3:
            raise NumericsError("three is bad", expected="another", fix="change it")
        return i

    with pytest.raises(NumericsError, match="three is bad") as caught:
        list(map_unordered(work, [1, 2, 3, 4], n_workers=n_workers, device="cpu"))
    assert caught.value.fix == "change it"


def test_nothing_to_do():
    assert list(map_unordered(lambda i: i, [], n_workers=2, device="cpu")) == []
