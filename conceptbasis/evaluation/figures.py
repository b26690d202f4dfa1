"""Figures of one condition, pooled over its draws, and the agreement of judges."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import torch

from conceptbasis.behaviors import Behavior
from conceptbasis.core.statistics.agreement import cohens_kappa
from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.core.statistics.intervals import bootstrap_mean, rate, wilson
from conceptbasis.data.prompts import Prompt
from conceptbasis.evaluation.measure import POSITIVE, Outcome
from conceptbasis.evaluation.trials import Sets, short_name
from conceptbasis.judges import find_judge
from conceptbasis.results.conditions import ConditionFigures, Divergence
from conceptbasis.results.evaluation import GroupRate, Kappa


def condition_figures(draws: Sequence[Outcome], behavior: Behavior) -> ConditionFigures:
    """The figures of one condition.

    Args:
        draws: Its outcomes.
        behavior: Says which sets must not show it, and where capability is measured.
    """
    judges = {name: rate(found) for name, found in _by_judge(draws).items()}
    kinds = Counter(kind for o in draws for kind in o.kinds)
    nll, n_tokens = sum(o.nll[0] for o in draws), sum(o.nll[1] for o in draws)
    return ConditionFigures(
        draws=len(draws),
        judges=judges,
        rate=judges[behavior.judge],
        answers={kind: kinds[kind] for kind in find_judge(behavior.judge).kinds},
        spillover={name: _pooled_rate(draws, name) for name in behavior.sets.spillover},
        recovered=_pooled_correct(draws, POSITIVE),
        capability={
            task: _pooled_correct(draws, short_name(behavior, own))
            for task, own in behavior.sets.capability.items()
        },
        kl_first_token=_divergence([k for o in draws for k in o.kl]),
        kl_answer=_divergence([k for o in draws for k in o.answer_kl]),
        perplexity=float(torch.tensor(nll / n_tokens).exp()),
        edited=dict(draws[0].edited),
    )


def _divergence(values: Sequence[float]) -> Divergence:
    kl = torch.tensor(values, dtype=torch.float64)
    span = bootstrap_mean(kl, generator=torch.Generator().manual_seed(0))
    return Divergence(
        Interval(float(kl.mean()), span.low, span.high, len(kl)), float(kl.quantile(0.95))
    )


def _pooled_rate(draws: Sequence[Outcome], name: str) -> Rate | None:
    verdicts = [v for o in draws for v in o.verdicts.get(name, ())]
    return rate(verdicts) if verdicts else None


def _pooled_correct(draws: Sequence[Outcome], name: str) -> Interval | None:
    known = [c for o in draws for c in o.correct.get(name, ()) if c is not None]
    return wilson(sum(known), len(known)) if known else None


def _by_judge(outcomes: Sequence[Outcome]) -> dict[str, list[bool | None]]:
    """Verdicts on positive prompts by judge, in one order for all judges."""
    return {name: [v for o in outcomes for v in o.judges[name]] for name in outcomes[0].judges}


def rates_by_group(
    sets: Sets, outcomes: Mapping[str, Sequence[Outcome]], names: Sequence[str]
) -> tuple[GroupRate, ...]:
    """The rate on prompts that share a topic word, a kind or a wording.

    What all prompts of a set share says nothing, and neither does what no two of them share.

    Args:
        sets: Prompts by the short name of their set.
        outcomes: Outcomes of every draw, by condition; the first draw is read.
        names: Conditions.
    """
    benign = {p.template for name, own in sets.items() if name != POSITIVE for p in own}
    found = []
    for prompt_set, prompts in sets.items():
        for shared, groups in _groups(prompts, benign).items():
            for name in names:
                verdicts = outcomes[name][0].verdicts.get(prompt_set, ())
                found += [
                    GroupRate(name, prompt_set, shared, group, rate([verdicts[i] for i in places]))
                    for group, places in groups.items()
                    if verdicts
                ]
    return tuple(found)


def _groups(
    prompts: Sequence[Prompt], benign: Collection[str | None]
) -> dict[str, dict[str, list[int]]]:
    """Places of prompts by what they share; the wording of positive prompts alone is a number."""
    worded = dict.fromkeys(p.template for p in prompts if p.template)
    wordings = {t: t if t in benign else f"wording {i}" for i, t in enumerate(worded, 1)}
    shared = {
        "topic": [p.noun for p in prompts],
        "kind": [p.kind for p in prompts],
        "wording": [wordings.get(p.template or "") for p in prompts],
    }
    found: dict[str, dict[str, list[int]]] = {}
    for name, values in shared.items():
        groups: dict[str, list[int]] = {}
        for place, value in enumerate(values):
            if value is not None:
                groups.setdefault(value, []).append(place)
        if 1 < len(groups) < sum(map(len, groups.values())):
            found[name] = groups
    return found


def judges_agreement(outcomes: Sequence[Outcome]) -> tuple[Kappa, ...]:
    """Cohen's kappa of every pair of judges on positive prompts."""
    verdicts = _by_judge(outcomes)
    found = []
    for first, second in itertools.combinations(verdicts, 2):
        generator = torch.Generator().manual_seed(0)
        agreement = cohens_kappa(verdicts[first], verdicts[second], generator=generator)
        found.append(Kappa((first, second), **vars(agreement)))
    return tuple(found)
