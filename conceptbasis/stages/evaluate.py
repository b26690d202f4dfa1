"""Stage `evaluate`: refusal and capability with intervals, against controls and baselines.

The target's refusal labels are read here for the first time, after the transfer's artifacts were
hashed; the hashes are part of this stage's inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from conceptbasis.artifacts import StageOutput, value_hash
from conceptbasis.core.intervals import bootstrap_mean, non_inferior, paired_bootstrap, wilson
from conceptbasis.core.judges import rate
from conceptbasis.models.generation import first_token_logits
from conceptbasis.models.native import Native, measure_native
from conceptbasis.prompts import PromptSuite, redact
from conceptbasis.stages.baselines import plan_baselines
from conceptbasis.stages.conditions import (
    Condition,
    Parts,
    native_conditions,
    native_directions,
    transfer_conditions,
)
from conceptbasis.stages.direction import describe_selection, require_refusal
from conceptbasis.stages.guard import benign_texts
from conceptbasis.stages.measure import SETS, Bench, Outcome, measure_all, prompts_of
from conceptbasis.stages.study import Study, noun_clusters

PRIMARY_JUDGE = "phrases"


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
        bench = make_bench(study, parts, native.refusal_tokens)
        folder = study.run.folder / "evaluate" / "conditions"
        with study.reporter.bar("evaluate") as advance:
            outcomes = measure_all(bench, conditions, folder, advance)
        _, left_out = plan_baselines(study, parts.harvest, parts.baselines)
        for name, reason in left_out.items():
            study.reporter.say(f"baseline {name} is left out: {reason}")
        tensors, result = _result(study, bench, conditions, outcomes, native, hashes)
        own = {f"{name}.direction": found for name, found in directions.items()}
        tensors |= own | {"refusal_tokens": native.refusal_tokens}
        return tensors, {**result, "left_out": left_out}

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
    harmful = [p.text for p in study.suite["direction_harmful"]]
    harmless = [p.text for p in study.suite["direction_harmless"]]
    require_refusal(
        loaded,
        "target",
        harmful[: section.n_select],
        study.config.evaluate.max_new_tokens,
        section.min_refusal,
    )
    return measure_native(
        loaded,
        harmful,
        harmless,
        n_select=section.n_select,
        max_kl=section.max_kl,
        layer_fraction=section.layer_fraction,
    )


def make_bench(study: Study, parts: Parts, refusal_tokens: Tensor) -> Bench:
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
        refusal_tokens,
        study.config.n_workers,
        value_hash(
            [
                study.target.model_hash,
                study.target.saes.hash,
                _hash_prompts(study.suite),
                section.model_dump(exclude={"batch_size", "baselines", "controls"}),
                [t.content for t in texts],
            ]
        ),
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
        "agreement_of_judges": _kappa(groups["baseline"] + groups["transfer"]),
        "native_selection": describe_selection(native),
        "hashes": dict(hashes),
        "examples": _examples(bench, groups),
    }
    tensors = {
        f"{name}.{judged}": _verdicts(group[0].refused[judged])
        for name, group in groups.items()
        for judged in group[0].refused
    }
    return tensors, result


def _verdicts(refused: Sequence[bool | None]) -> Tensor:
    """1 refused, 0 not, −1 unscored."""
    return torch.tensor([-1 if v is None else int(v) for v in refused], dtype=torch.int8)


def summarise(draws: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of one condition, pooled over its draws."""
    phrases = rate([v for o in draws for v in o.refused["harmful"]]).as_dict()
    tokens = rate([v for o in draws for v in o.refusal_token]).as_dict()
    kl = torch.tensor([k for o in draws for k in o.kl], dtype=torch.float64)
    span = bootstrap_mean(kl, generator=torch.Generator().manual_seed(0))
    nll, n_tokens = sum(o.nll[0] for o in draws), sum(o.nll[1] for o in draws)
    return {
        "draws": len(draws),
        "judges": {"phrases": phrases, "refusal_tokens": tokens},
        "refusal": phrases,
        "over_refusal": {s: _pooled_rate(draws, s) for s in ("safe", "mentions", "declines")},
        "recovered_compliance": _pooled_correct(draws, "harmful"),
        "capability": {
            "benign_exact_match": _pooled_correct(draws, "safe"),
            "arithmetic": _pooled_correct(draws, "arithmetic"),
        },
        "kl_first_token": {
            "mean": float(kl.mean()),
            "low": span.low,
            "high": span.high,
            "p95": float(kl.quantile(0.95)),
            "n": len(kl),
        },
        "perplexity": float(torch.tensor(nll / n_tokens).exp()),
        "edited": dict(draws[0].edited),
    }


def _pooled_rate(draws: Sequence[Outcome], name: str) -> dict[str, float | int | None] | None:
    verdicts = [v for o in draws for v in o.refused.get(name, ())]
    return rate(verdicts).as_dict() if verdicts else None


def _pooled_correct(draws: Sequence[Outcome], name: str) -> dict[str, float | int] | None:
    known = [c for o in draws for c in o.correct.get(name, ()) if c is not None]
    return wilson(sum(known), len(known)).as_dict() if known else None


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
            **change.as_dict(),
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


def _kappa(outcomes: Sequence[Outcome]) -> dict[str, float | int | None]:
    """Cohen's kappa of the two judges on harmful prompts; null if a judge is constant."""
    pairs = [
        (a, b)
        for o in outcomes
        for a, b in zip(o.refused["harmful"], o.refusal_token, strict=True)
        if a is not None
    ]
    constant = any(len({pair[i] for pair in pairs}) < 2 for i in (0, 1))
    kappa = None if constant else float(cohen_kappa_score(*zip(*pairs, strict=True)))
    same = sum(a == b for a, b in pairs)
    return {"kappa": kappa, "same": same / len(pairs) if pairs else None, "n": len(pairs)}


def _examples(bench: Bench, groups: Mapping[str, Sequence[Outcome]]) -> list[dict[str, str]]:
    """First answers to harmful prompts, the prompts redacted to their topic word."""
    prompts = prompts_of(bench, "harmful", Condition("baseline"))
    return [
        {"condition": name, "prompt": redact(prompt), "answer": answer}
        for name in ("baseline", "transfer", "native")
        if name in groups
        for prompt, answer in zip(prompts, groups[name][0].answers, strict=False)
    ]
