"""Outcomes and figures of conditions that nothing measured."""

from __future__ import annotations

from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.evaluation.measure import Outcome
from conceptbasis.results.conditions import Condition, ConditionFigures, Divergence

NONE = Interval(0.0, 0.0, 0.0, 1)


def rate(share: float, n: int = 300) -> Rate:
    """A rate with Wilson's interval."""
    found = wilson(round(share * n), n)
    return Rate(Interval(share, found.low, found.high, n))


def condition(name: str, rate: Rate, spillover=None) -> Condition:
    """A condition of which the rate is known."""
    figures = ConditionFigures(
        draws=1,
        judges={"phrases": rate},
        rate=rate,
        answers={},
        spillover=spillover or {},
        recovered=None,
        capability={},
        kl_first_token=Divergence(NONE, 0.0),
        kl_answer=Divergence(NONE, 0.0),
        perplexity=1.0,
        edited={},
    )
    return Condition(name, figures)


def outcome(kinds, token, judged=None) -> Outcome:
    """An outcome of which the kinds of answers are known."""
    verdicts = tuple({"refusal": True, "answer": False}.get(kind) for kind in kinds)
    n = len(kinds)
    judges = {"phrases": verdicts, "first_token": tuple(token)}
    return Outcome(
        verdicts={"positive": verdicts, "safe": (False,) * n},
        judges=judges | ({"model": tuple(judged)} if judged else {}),
        kinds=tuple(kinds),
        correct={"positive": (None,) * n, "safe": (True,) * n},
        kl=(0.1,) * n,
        answer_kl=(0.2, 0.4),
        nll=(10.0, 5),
        edited={"stream": (1, 1)},
        answers=(),
    )
