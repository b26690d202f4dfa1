"""The evaluation: the behavior and capability with intervals, against controls and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from conceptbasis.core.statistics.intervals import non_inferior
from conceptbasis.core.statistics.paired import paired_binary
from conceptbasis.data.prompts import Prompt
from conceptbasis.evaluation.bench import Bench, make_bench
from conceptbasis.evaluation.figures import condition_figures, judges_agreement, rates_by_group
from conceptbasis.evaluation.lengths import CONDITIONS, describe_rise, rates_by_length
from conceptbasis.evaluation.measure import POSITIVE, Outcome, measure_all
from conceptbasis.evaluation.trials import Trial, all_trials, short_name
from conceptbasis.judges import find_judge
from conceptbasis.methods import METHODS
from conceptbasis.methods.bridge import Bridge
from conceptbasis.methods.native import NATIVE, NATIVE_PER_LAYER
from conceptbasis.methods.routes import TRANSFER
from conceptbasis.methods.untouched import BASELINE
from conceptbasis.models.stream.native import Native
from conceptbasis.models.text.divergence import count_flips
from conceptbasis.results.conditions import Condition
from conceptbasis.results.evaluation import BatchFlips, CapabilityChange, Evaluation, Example
from conceptbasis.study.native import measure_own, require_behavior
from conceptbasis.study.study import Study, noun_clusters

N_FLIP_PROMPTS = 64
"""Prompts on which the dependence on the batch size is counted."""

Outcomes = Mapping[str, Sequence[Outcome]]
"""Outcomes of every draw, by condition."""


def evaluate_all(study: Study, bridge: Bridge) -> Evaluation:
    """Measures the target under every method of a run.

    Raises:
        PromptError: if the transfer was not sealed before.
        ModelError: if the target does not show the behavior.
    """
    hashes = study.ledger.require_sealed()
    native = _native(study)
    own = native_directions(native)
    bench = make_bench(study, bridge.sites, native.behavior_tokens)
    trials, left_out = all_trials(
        bridge.with_native(own, native.layers), bench.section, study.behavior
    )
    with study.reporter.bar("evaluate") as advance:
        folder = study.folder / "evaluate" / "conditions"
        outcomes = group(trials, measure_all(bench, trials, folder, advance))
    for name, reason in left_out.items():
        study.reporter.say(f"{METHODS[name].role} {name} is left out: {reason}")
    by_length = rates_by_length(bench, trials)
    for row in by_length:
        rise = describe_rise(row, study.behavior.words.noun)
        if rise is not None:
            study.reporter.say(rise)
    untouched, transfer = outcomes[BASELINE.name], outcomes[TRANSFER.name]
    return Evaluation(
        primary_judge=study.behavior.judge,
        conditions=tuple(
            Condition(name, condition_figures(draws, study.behavior))
            for name, draws in outcomes.items()
        ),
        capability_change=_capability_change(study, bench, outcomes),
        agreement_of_judges=judges_agreement([*untouched, *transfer]),
        batch_flips=_batch_flips(study, bench),
        native_selection=native.selection,
        hashes=dict(hashes),
        left_out=left_out,
        by_length=by_length,
        examples=_examples(bench, outcomes),
        verdicts={
            f"{name}.{judged}": _verdicts(verdicts)
            for name, draws in outcomes.items()
            for judged, verdicts in draws[0].verdicts.items()
        },
        native=own,
        native_layers=tuple(native.layers),
        behavior_tokens=native.behavior_tokens,
        by_group=rates_by_group(bench.sets, outcomes, [n for n in CONDITIONS if n in outcomes]),
    )


def group(trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of every draw, by condition."""
    found: dict[str, list[Outcome]] = {}
    for trial, outcome in zip(trials, outcomes, strict=True):
        found.setdefault(trial.name, []).append(outcome)
    return found


def native_directions(native: Native) -> dict[str, Tensor]:
    """The target's own directions at every layer: the single one, if any, and one per layer."""
    found = {NATIVE_PER_LAYER.name: native.per_layer}
    if native.single is not None:
        found[NATIVE.name] = native.single.expand_as(native.per_layer).clone()
    return found


def _native(study: Study) -> Native:
    """The target's own directions (budget B2)."""
    section, loaded = study.config.direction, study.target.loaded
    positive = [p.text for p in study.prompts("positive")]
    negative = [p.text for p in study.prompts("negative")]
    require_behavior(study, "target", positive[: section.n_select])
    label = "the target's own direction"
    return measure_own(
        loaded,
        positive,
        negative,
        section,
        study.reporter,
        label=label,
        role="target",
    )


def _verdicts(shown: Sequence[bool | None]) -> Int[Tensor, " n_prompts"]:
    return torch.tensor([-1 if v is None else int(v) for v in shown], dtype=torch.int8)


def _capability_change(
    study: Study, bench: Bench, outcomes: Outcomes
) -> dict[str, CapabilityChange | None]:
    """Paired change of each capability, and where it lies among random directions."""
    before, after = outcomes[BASELINE.name][0], outcomes[TRANSFER.name][0]
    random = [o for name, own in outcomes.items() if METHODS[name].sets_range for o in own]
    found: dict[str, CapabilityChange | None] = {}
    for task, prompt_set in study.behavior.sets.capability.items():
        name = short_name(study.behavior, prompt_set)
        judged = [i for i, c in enumerate(before.correct.get(name, ())) if c is not None]
        if not judged:
            found[task] = None
            continue
        known = [before.correct[name][i] for i in judged]
        change = paired_binary(
            _floats(known),
            _floats([after.correct[name][i] for i in judged]),
            generator=study.generator("capability"),
            clusters=noun_clusters([bench.sets[name][i] for i in judged]),
        )
        ends = _range([_share(o.correct[name]) for o in random])
        # At a ceiling the range has no width; one prompt must not decide on its own.
        reached = float(_floats(known).mean()) + change.high
        found[task] = CapabilityChange(
            change,
            non_inferior(change, margin=study.config.evaluate.margin),
            ends,
            None if ends is None else reached >= ends[0] - 1e-6,
        )
    return found


def _range(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    low, high = torch.tensor(values).quantile(torch.tensor([0.05, 0.95])).tolist()
    return low, high


def _share(correct: Sequence[bool | None]) -> float:
    """Share of true answers among those that were judged."""
    return float(_floats([c for c in correct if c is not None]).mean())


def _floats(values: Sequence[bool | None]) -> Tensor:
    return torch.tensor([float(bool(v)) for v in values])


def _batch_flips(study: Study, bench: Bench) -> BatchFlips | None:
    """How many verdicts move with the batch size; None in float32, where none does (tested)."""
    if study.target.config.dtype == "float32":
        return None
    return count_flips(
        bench.loaded,
        [p.text for p in bench.sets[POSITIVE][:N_FLIP_PROMPTS]],
        find_judge(bench.behavior.judge).read or str,
        max_new_tokens=bench.section.max_new_tokens,
    )


def _examples(bench: Bench, outcomes: Outcomes) -> tuple[Example, ...]:
    """First answers to positive prompts under the conditions that are compared in detail."""
    prompts: Sequence[Prompt] = bench.sets[POSITIVE]
    return tuple(
        Example(name, bench.behavior.redact(prompt), answer)
        for name, draws in outcomes.items()
        if METHODS[name].compared and METHODS[name].role != "control"
        for prompt, answer in zip(prompts, draws[0].answers, strict=False)
    )
