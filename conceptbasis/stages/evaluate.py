"""Stage `evaluate`: refusal and capability with intervals, against controls and baselines.

The target's refusal labels are read here for the first time, after the transfer's artifacts were
hashed; the hashes are part of this stage's inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from conceptbasis.behaviors.refusal import redact_request
from conceptbasis.config.evaluation import JudgeSection
from conceptbasis.core.statistics.intervals import non_inferior, paired_bootstrap
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.evaluation.condition_figures import PRIMARY_JUDGE, judges_agreement, summarise
from conceptbasis.evaluation.conditions import (
    Condition,
    Parts,
    native_conditions,
    native_directions,
    transfer_conditions,
)
from conceptbasis.evaluation.measure import (
    OUTCOME_FIELDS,
    SETS,
    Bench,
    Outcome,
    measure_all,
    prompts_of,
)
from conceptbasis.judges.model import JudgeModel, JudgeOptions, load_judge
from conceptbasis.judges.phrases import read_answer
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.source import Source
from conceptbasis.models.stream.native import Native, measure_native
from conceptbasis.models.text.divergence import count_flips
from conceptbasis.models.text.generation import first_token_logits, generate
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.baselines import left_out
from conceptbasis.stages.direction import describe_selection, require_behavior
from conceptbasis.stages.guard import benign_texts
from conceptbasis.study.study import Study, noun_clusters

N_FLIP_PROMPTS = 64
"""Prompts on which the dependence on the batch size is counted."""


def run_evaluate(study: Study, parts: Parts) -> StageOutput:
    """Runs or reuses the stage.

    Raises:
        PromptError: if the transfer was not sealed before.
        ModelError: if the target does not refuse.
    """
    hashes = study.ledger.require_sealed()

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        native = _native(study)
        directions = native_directions(native)
        conditions = transfer_conditions(parts) + native_conditions(parts, directions)
        bench = make_bench(study, parts, native.behavior_tokens)
        folder = study.run.folder / "evaluate" / "conditions"
        with study.reporter.bar("evaluate") as advance:
            outcomes = measure_all(bench, conditions, folder, advance)
        reasons = left_out(study, parts.baselines)
        for name, reason in reasons.items():
            study.reporter.say(f"baseline {name} is left out: {reason}")
        tensors, result = _result(study, bench, conditions, outcomes, native, hashes)
        own = {f"{name}.direction": found for name, found in directions.items()}
        tensors |= own | {"refusal_tokens": native.behavior_tokens}
        return tensors, {**result, "left_out": reasons}

    section = study.config.evaluate
    return study.run.stage(
        "evaluate",
        config={
            **section.model_dump(exclude={"batch_size"}),
            "early_fraction": study.config.replay.early_fraction,
        },
        inputs={**hashes, "target": study.target.model_hash, "prompts": _hash_prompts(study.suite)},
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )


def _hash_prompts(suite: PromptSuite) -> str:
    names = (*SETS.values(), "direction_harmful", "direction_harmless")
    return value_hash([[p.text for p in suite.prompts.get(name, ())] for name in names])


def _native(study: Study) -> Native:
    """The target's own directions (budget B2)."""
    study.ledger.require_sealed()
    section, loaded = study.config.direction, study.target.loaded
    positive = [p.text for p in study.suite["direction_harmful"]]
    negative = [p.text for p in study.suite["direction_harmless"]]
    require_behavior(
        loaded,
        "target",
        positive[: section.n_select],
        study.config.evaluate.max_new_tokens,
        section.min_rate,
    )
    return measure_native(
        loaded,
        positive,
        negative,
        n_select=section.n_select,
        max_kl=section.max_kl,
        layer_fraction=section.layer_fraction,
    )


def make_bench(study: Study, parts: Parts, behavior_tokens: Tensor) -> Bench:
    """What the conditions of this stage, and of the curve, are measured with."""
    section, loaded = study.config.evaluate, study.target.loaded
    safe = [p.text for p in study.suite["eval_harmless"]]
    texts = benign_texts(parts.harvest, "report")
    return Bench(
        loaded,
        study.target.saes.saes,
        study.suite,
        section,
        texts,
        first_token_logits(loaded, safe, batch_size=section.batch_size),
        generate(
            loaded,
            safe[: section.n_prompts][: section.n_kl_prompts],
            max_new_tokens=section.max_new_tokens,
            batch_size=section.batch_size,
        ),
        behavior_tokens,
        study.config.n_workers,
        None if section.judge is None else load_section_judge(section.judge, study.config.device),
        value_hash(
            [
                study.target.model_hash,
                study.target.saes.hash,
                _hash_prompts(study.suite),
                section.model_dump(exclude={"batch_size", "baselines", "controls"}),
                [t.content for t in texts],
                OUTCOME_FIELDS,
            ]
        ),
    )


@functools.lru_cache(maxsize=1)
def load_section_judge(section: JudgeSection, device: str) -> JudgeModel:
    """The judging model of a configuration, loaded once for all stages that measure.

    Args:
        section: `evaluate.judge`.
        device: A torch device.
    """
    return load_judge(
        Source(section.model, section.revision, offline=section.offline),
        JudgeOptions(
            section.kind,
            section.positive,
            section.negative,
            section.template,
            section.min_probability,
            section.max_new_tokens,
        ),
        Placement(section.dtype, device),
    )


def _result(
    study: Study,
    bench: Bench,
    conditions: Sequence[Condition],
    outcomes: Sequence[Outcome],
    native: Native,
    hashes: Mapping[str, str],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    names = list(dict.fromkeys(c.name for c in conditions))
    groups = {
        name: [o for c, o in zip(conditions, outcomes, strict=True) if c.name == name]
        for name in names
    }
    baseline, transfer = groups["baseline"][0], groups["transfer"][0]
    result = {
        "primary_judge": PRIMARY_JUDGE,
        "conditions": [{"name": name, **summarise(groups[name])} for name in names],
        "capability_change": _capability_change(study, bench, baseline, transfer, groups),
        "agreement_of_judges": judges_agreement(groups["baseline"] + groups["transfer"]),
        "batch_flips": _batch_flips(study, bench),
        "native_selection": describe_selection(native),
        "hashes": dict(hashes),
        "examples": _examples(bench, groups),
    }
    tensors = {
        f"{name}.{judged}": _verdicts(group[0].refused(judged))
        for name, group in groups.items()
        for judged in group[0].kinds
    }
    return tensors, result


def _verdicts(refused: Sequence[bool | None]) -> Tensor:
    """1 refused, 0 not, −1 unscored."""
    return torch.tensor([-1 if v is None else int(v) for v in refused], dtype=torch.int8)


def _capability_change(
    study: Study,
    bench: Bench,
    baseline: Outcome,
    transfer: Outcome,
    groups: Mapping[str, Sequence[Outcome]],
) -> dict[str, Any]:
    """Paired change of each capability, and where it lies among random directions."""
    found: dict[str, Any] = {}
    for label, name in (("benign_exact_match", "safe"), ("arithmetic", "arithmetic")):
        before, after = baseline.correct.get(name, ()), transfer.correct.get(name, ())
        if not before or None in before:
            found[label] = None
            continue
        change = paired_bootstrap(
            _floats(before),
            _floats(after),
            generator=study.generator(90_000),
            clusters=_clusters(bench, name),
        )
        random = [
            float(_floats(o.correct[name]).mean()) for o in groups.get("random_direction", ())
        ]
        ends = (
            torch.tensor(random).quantile(torch.tensor([0.05, 0.95])).tolist() if random else None
        )
        found[label] = {
            **asdict(change),
            "non_inferior": non_inferior(change, margin=study.config.evaluate.margin),
            "random_range": ends,
            # At a ceiling the range has no width; one prompt must not decide on its own.
            "inside_random_range": ends
            and float(_floats(before).mean()) + change.high >= ends[0] - 1e-6,
        }
    return found


def _floats(values: Sequence[bool | None]) -> Tensor:
    return torch.tensor([float(bool(v)) for v in values])


def _clusters(bench: Bench, name: str) -> Tensor:
    return noun_clusters(prompts_of(bench, name, Condition("baseline")))


def _batch_flips(study: Study, bench: Bench) -> dict[str, Any] | None:
    """How many verdicts move with the batch size; None in float32, where none does (tested)."""
    if study.target.config.dtype == "float32":
        return None
    prompts = prompts_of(bench, "harmful", Condition("baseline"))[:N_FLIP_PROMPTS]
    return count_flips(
        bench.loaded,
        [p.text for p in prompts],
        read_answer,
        max_new_tokens=bench.section.max_new_tokens,
    )


def _examples(bench: Bench, groups: Mapping[str, Sequence[Outcome]]) -> list[dict[str, str]]:
    """First answers to harmful prompts, the prompts redacted to their topic word."""
    prompts = prompts_of(bench, "harmful", Condition("baseline"))
    return [
        {"condition": name, "prompt": redact_request(prompt), "answer": answer}
        for name in ("baseline", "transfer", "native")
        if name in groups
        for prompt, answer in zip(prompts, groups[name][0].answers, strict=False)
    ]
