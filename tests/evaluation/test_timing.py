"""The time that a run will take, from pieces that are timed and counted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from conceptbasis.data.texts import shared_texts
from conceptbasis.evaluation.timing import Pieces, estimate_seconds, time_pieces
from conceptbasis.results.harvest import Harvest
from conceptbasis.runs.graph import load_result

NOTHING = Pieces(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 768)


@pytest.fixture(scope="module")
def estimate(ready, sides):
    """Seconds for given pieces; keywords are sections of the configuration."""

    def make(pieces, n_sites=1000, **sections):
        config = ready.config(**sections)
        texts = shared_texts(ready.suite, config)
        given = (sides.donor, sides.target, ready.suite, config, texts, n_sites)
        return estimate_seconds(pieces, *given)

    return make


def test_the_estimate_is_near_what_the_run_took(ready, sides, finished, estimate):
    """Timed again on the machine and under the load of the moment, hence the room."""
    config = ready.config(curve={"measure": True})
    texts = shared_texts(ready.suite, config)
    threads = torch.get_num_threads()
    pieces = time_pieces(sides.donor, sides.target, config, texts[:64])
    assert torch.get_num_threads() == threads
    n_sites = load_result(finished.folder, "harvest", Harvest, tensors=False).n_sites
    expected = estimate(pieces, n_sites, curve={"measure": True})
    assert expected == pytest.approx(_seconds(finished.folder), rel=0.6)


def _seconds(folder):
    found = folder.glob("*/provenance.json")
    return sum(json.loads(path.read_text())["seconds"] for path in found)


def test_pieces_are_all_timed_and_a_guessed_answer_is_cheaper(ready, sides):
    config = ready.config(n_workers=2)
    pieces = time_pieces(sides.donor, sides.target, config, shared_texts(ready.suite, config)[:64])
    assert min(vars(pieces).values()) > 0
    assert pieces.check < 1.5 * pieces.answer
    assert pieces.n_live <= 128


def test_nothing_that_takes_no_time_is_counted(estimate):
    assert estimate(NOTHING, curve={"measure": True}, flows={"n_flows": 3}) == 0


def test_what_is_asked_for_counts(estimate):
    answering = replace(NOTHING, answer=1e-3, check=1e-3)
    alone = estimate(answering, n_workers=1)
    assert estimate(answering, n_workers=1, curve={"measure": True}) > 1.3 * alone
    assert estimate(answering, n_workers=1, flows={"n_flows": 4}) > 1.1 * alone
    assert estimate(answering, n_workers=2) < 0.6 * alone
    assert estimate(answering, n_workers=1, evaluate={"n_random": 6}) > alone
    searching = replace(NOTHING, search=1e-5)
    assert estimate(searching, 2000) == pytest.approx(2 * estimate(searching, 1000))
    more = estimate(searching, match={"n_shifts": 12})
    assert more / estimate(searching, match={"n_shifts": 6}) == pytest.approx(3.2 / 2.0)
    reading = replace(NOTHING, read=1e-3)
    fewer = estimate(reading, harvest={"n_texts": 100})
    assert estimate(reading, harvest={"n_texts": 200}) == pytest.approx(2 * fewer, rel=0.1)
