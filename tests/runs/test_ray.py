"""Work as tasks of a real Ray cluster of two workers: equal results, retries, clear errors."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

from conceptbasis.errors import ConceptBasisError, ConfigError, NumericsError
from conceptbasis.runs import ray_cluster
from conceptbasis.runs.executor import run_all, working
from conceptbasis.runs.files import file_hash, read_json
from conceptbasis.runs.where import WHERE, Where

pytest.importorskip("ray", reason="ray is not installed: pip install 'conceptbasis[ray]'")
HERE = Where("ray", workers=2)


@pytest.fixture(scope="module")
def cluster():
    with working(HERE):
        yield


def on_ray(function, shared, items):
    return dict(run_all(function, shared, items, workers=2, device="cpu"))


def places(shared, item):
    here = {"pid": os.getpid(), "cwd": os.getcwd(), "threads": torch.get_num_threads()}
    return here | {"product": shared["x"] @ torch.full((64,), float(item))}


def die_once(marker, item):
    """The worker of the second item dies at the first try."""
    if item == 2 and not Path(marker).exists():
        Path(marker).write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return item**2


def die(shared, item):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse_three(marker, item):
    if item == 3:
        with Path(marker).open("a") as handle:
            handle.write("tried\n")
        raise NumericsError("three is bad", expected="another", fix="change it")
    return item


def write_into(shared, item):
    item += 1
    return item


def environment(shared, item):
    import ray

    return dict(ray.get_runtime_context().runtime_env)


class Ended(Exception):
    """An error that needs two arguments and cannot be built from its message."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def end(shared, item):
    raise Ended("one", "two")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:99999", "[::1]:x"])
def test_an_address_without_a_cluster_is_an_error(address):
    started = time.monotonic()
    with pytest.raises(ConfigError, match="Ray") as caught, working_at(address):
        pass
    assert address in str(caught.value)
    assert time.monotonic() - started < 10


def test_something_else_at_the_address_is_an_error(monkeypatch):
    """Something that listens and never answers; Ray itself ends the process after minutes."""
    monkeypatch.setattr(ray_cluster, "PATIENCE", 4.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with (
            pytest.raises(ConfigError, match="no answer of Ray in 4 seconds"),
            working_at(f"127.0.0.1:{silent.getsockname()[1]}"),
        ):
            pass


def working_at(address):
    return working(Where("ray", address))


def test_one_gpu_of_several_cannot_be_named():
    with (
        pytest.raises(ConfigError, match="every task a GPU of its own"),
        working(Where("ray", device="cuda:1")),
    ):
        pass


def results(folder):
    """By file of a stage's result, its hash."""
    return {
        str(path.relative_to(folder)): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.name == "tensors.safetensors" or path.name == "result.json"
    }


def leaves(value):
    """All leaves of a JSON value in its order, without hashes of files, which follow from them."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [leaf for part in inner for leaf in leaves(part)]
    is_hash = isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)
    return [] if is_hash else [value]


def test_a_whole_run_is_that_of_one_process(cluster, ready, finished, tmp_path):
    """To the bit but for agreements of baselines, most likely since torch rounds products by where
    arrays lie in memory, and Ray lays them elsewhere."""
    more = {"curve": {"measure": True}, "executor": "ray", "n_workers": 2}
    ready.run(tmp_path / "ray", **more)
    one, there = results(finished.folder), results(tmp_path / "ray")
    assert len(one) > 20
    assert one.keys() == there.keys()
    unlike = {name for name in one if one[name] != there[name]}
    assert unlike <= {"baselines/result.json", "evaluate/result.json"}
    for name in unlike:
        ours, rays = (leaves(read_json(f / name)) for f in (finished.folder, tmp_path / "ray"))
        assert len(ours) == len(rays)
        for mine, other in zip(ours, rays, strict=True):
            close = pytest.approx(mine, rel=1e-9) if isinstance(mine, float) else mine
            assert other == close, name


def test_results_are_those_of_this_process_bit_for_bit(cluster):
    shared = {"x": torch.randn(64, 64, generator=torch.Generator().manual_seed(0))}
    items = list(range(30))  # more than can be in flight
    there = on_ray(places, shared, items)
    assert sorted(there) == items
    for i in items:
        assert torch.equal(there[i]["product"], places(shared, i)["product"])
    assert not torch.equal(there[1]["product"], there[2]["product"])
    assert os.getpid() not in {found["pid"] for found in there.values()}
    assert {(found["cwd"], found["threads"]) for found in there.values()} == {(os.getcwd(), 1)}


def test_workers_take_the_state_of_each_map(cluster):
    for value in (1.0, 2.0):
        there = on_ray(places, {"x": torch.full((1, 64), value)}, [1, 2])
        assert [float(there[i]["product"]) for i in (0, 1)] == [64 * value, 128 * value]


def test_a_worker_that_dies_is_replaced(cluster, tmp_path):
    marker = tmp_path / "died"
    assert on_ray(die_once, str(marker), [1, 2, 3]) == {0: 1, 1: 4, 2: 9}
    assert marker.exists(), "no worker died, so nothing was tried"


def test_work_that_always_kills_its_worker_is_given_up(cluster):
    with pytest.raises(ConceptBasisError, match="after 4 tries") as caught:
        on_ray(die, None, [1, 2])
    assert "memory" in caught.value.fix


def test_an_error_is_raised_as_it_is_and_not_tried_again(cluster, tmp_path):
    marker = tmp_path / "tries"
    with pytest.raises(NumericsError, match="three is bad") as caught:
        on_ray(refuse_three, str(marker), [1, 2, 3, 4])
    assert type(caught.value) is NumericsError
    assert caught.value.fix == "change it"
    assert marker.read_text() == "tried\n"
    words = "".join(traceback.format_exception(caught.value))
    assert "in refuse_three" in words, "the place in the task is not told"


def test_an_error_that_cannot_be_sent_still_says_what_it_was(cluster):
    with pytest.raises(Exception, match="one and two"):
        on_ray(end, None, [1, 2])


def test_after_errors_work_goes_on(cluster):
    assert on_ray(write_into, None, [1, 2]) == {0: 2, 1: 3}


def test_items_and_results_can_be_written(cluster):
    """Ray itself hands out arrays that are read-only."""
    there = on_ray(write_into, None, [np.zeros(200_000), np.ones(200_000)])
    there[0] += 1
    assert there[0][0] == 2


def test_a_function_that_cannot_be_sent_is_refused(cluster):
    with pytest.raises(TypeError, match="cannot be sent to another process; give a function at"):
        on_ray(lambda shared, item: item, None, [1, 2])


def test_the_environment_is_not_handed_on(cluster):
    assert on_ray(environment, None, [1, 2]) == {0: {}, 1: {}}
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


def test_what_a_sigterm_does_stays(cluster):
    on_ray(write_into, None, [1, 2])
    assert signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, None)


def test_a_cluster_without_what_tasks_need_is_refused(cluster):
    """Ray itself would wait for ever."""
    where = Where("ray", workers=2, device="cuda")
    import ray

    if ray.cluster_resources().get("GPU"):
        pytest.skip("this machine has a GPU")
    with working(where), pytest.raises(ConfigError, match="a Ray cluster without a GPU"):
        list(run_all(write_into, None, [1, 2], workers=2, device="cuda"))
    assert WHERE.get() is HERE


def test_another_cluster_beside_this_one_is_refused(cluster):
    with pytest.raises(ConfigError, match="one Ray cluster at a time"), working_at("127.0.0.1:1"):
        pass
    assert on_ray(write_into, None, [1, 2]) == {0: 2, 1: 3}
