"""The rate over the length of the answer: prefixes of one generation, and a rise that is said."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from conceptbasis.core.statistics.intervals import rate
from conceptbasis.evaluation import lengths
from conceptbasis.evaluation.lengths import describe_rise, rates_by_length
from conceptbasis.evaluation.trials import Trial
from conceptbasis.methods.untouched import BASELINE
from conceptbasis.results.evaluation import LengthRates


@pytest.fixture
def bench(monkeypatch):
    """A model whose answers refuse from their fifth token on: words stand for tokens."""
    tokens = [["well", "you", "know", "that", "I", "can't", "help", "with", "that"]] * 4
    calls = []

    def complete(_loaded, prompts, *, max_new_tokens, batch_size):
        calls.append(max_new_tokens)
        return SimpleNamespace(tokens=[row[:max_new_tokens] for row in tokens])

    monkeypatch.setattr(lengths, "complete", complete)
    monkeypatch.setattr(
        lengths, "read_answer_tokens", lambda _, rows: [" ".join(row) for row in rows]
    )
    loaded = SimpleNamespace(tokenizer=None, architecture=SimpleNamespace(n_layers=1))
    section = SimpleNamespace(lengths=(9, 2), batch_size=8)
    prompts = [SimpleNamespace(text="a")] * 4
    made = SimpleNamespace(
        loaded=loaded,
        section=section,
        sets={"positive": prompts},
        judge=None,
        behavior=SimpleNamespace(judge="phrases"),
    )
    return made, calls


def test_prefixes_of_one_generation_are_judged(bench):
    made, calls = bench
    trials = [Trial(BASELINE.name), Trial("random_directions"), Trial("random_directions", 1)]
    (row,) = rates_by_length(made, trials)
    assert (row.condition, row.n_tokens, calls) == (BASELINE.name, (2, 9), [9])
    values = [None if r.interval is None else r.interval.value for r in row.rates]
    assert values[-1] == 1.0
    assert values[0] in (0.0, None)


def test_nothing_is_measured_unless_it_is_asked_for(bench):
    made, calls = bench
    made.section.lengths = ()
    assert rates_by_length(made, [Trial(BASELINE.name)]) == ()
    made.section.lengths = (4,)
    made.behavior.judge = "first_token"
    assert rates_by_length(made, [Trial(BASELINE.name)]) == ()
    assert calls == []


def test_a_rise_of_more_than_five_points_is_said():
    def row(*shares):
        rates = tuple(rate([i < 100 * share for i in range(100)]) for share in shares)
        return LengthRates("transfer", (16, 128)[: len(shares)], rates)

    assert describe_rise(row(0.1, 0.15), "refusal") is None
    assert describe_rise(row(0.5, 0.1), "refusal") is None
    assert describe_rise(row(0.1, 0.2), "refusal") == (
        "transfer: refusal rises from 0.10 at 16 tokens to 0.20 at 128 (n = 100): "
        "part of it is only put off"
    )
