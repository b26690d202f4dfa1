"""The behavior over the length of an answer: an edit may only put a refusal off."""

from __future__ import annotations

from collections.abc import Sequence

from conceptbasis.core.statistics.intervals import rate
from conceptbasis.evaluation.bench import Bench
from conceptbasis.evaluation.measure import POSITIVE, under
from conceptbasis.evaluation.trials import Trial
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers
from conceptbasis.methods.native import NATIVE
from conceptbasis.methods.routes import TRANSFER
from conceptbasis.methods.untouched import BASELINE
from conceptbasis.models.text.chat import read_answer_tokens
from conceptbasis.models.text.generation import complete
from conceptbasis.results.evaluation import LengthRates

CONDITIONS = (BASELINE.name, TRANSFER.name, NATIVE.name)
MAX_RISE = 0.05
"""A rate that rises by more than this over the length of the answer is said."""


def rates_by_length(bench: Bench, trials: Sequence[Trial]) -> tuple[LengthRates, ...]:
    """The rate on positive prompts at every length of `evaluate.lengths`, from one generation each.

    A judge that reads no answers says the same at every length; then nothing is measured.

    Args:
        bench: What trials share.
        trials: Those of the run.
    """
    lengths, judge = sorted(set(bench.section.lengths)), find_judge(bench.behavior.judge)
    if not lengths or "answers" not in judge.needs:
        return ()
    prompts = [p.text for p in bench.sets[POSITIVE]]
    found = []
    for trial in (t for t in trials if t.name in CONDITIONS and t.draw == 0):
        with under(bench, trial):
            done = complete(
                bench.loaded,
                prompts,
                max_new_tokens=lengths[-1],
                batch_size=bench.section.batch_size,
            )
        rates = []
        for n in lengths:
            texts = read_answer_tokens(bench.loaded.tokenizer, [row[:n] for row in done.tokens])
            rates.append(rate(judge.verdicts(Answers(prompts, texts, model=bench.judge))))
        found.append(LengthRates(trial.name, tuple(lengths), tuple(rates)))
    return tuple(found)


def describe_rise(row: LengthRates, noun: str) -> str | None:
    """What to say of an edit that puts the behavior off; None where it does not.

    Args:
        row: Rates of one condition.
        noun: What the behavior is called.
    """
    first, last = row.rates[0].interval, row.rates[-1].interval
    if first is None or last is None or last.value - first.value <= MAX_RISE:
        return None
    return (
        f"{row.condition}: {noun} rises from {first.value:.2f} at {row.n_tokens[0]} tokens to "
        f"{last.value:.2f} at {row.n_tokens[-1]} (n = {last.n}): part of it is only put off"
    )
