"""Stage `curve`: refusal against damage, every method brought to the same damage.

At full strength most methods tie near zero, and a method that does more damage can look better. So
the strength at which each method does a given damage is found first, on benign text alone: once for
levels of the first-token KL, once for a rise of perplexity. Then refusal is measured there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.evaluation import CurveSection
from conceptbasis.core.statistics.curves import area_weights, level_where, strength_at, value_at
from conceptbasis.core.statistics.intervals import bootstrap_mean, paired_bootstrap
from conceptbasis.edits.intervention import apply_intervention, plan_intervention, strengthens
from conceptbasis.errors import PromptError
from conceptbasis.evaluation.condition_figures import summarise
from conceptbasis.evaluation.conditions import (
    NATIVE,
    Condition,
    Parts,
    control_draws,
    method_conditions,
    native_conditions,
)
from conceptbasis.evaluation.measure import Outcome, measure_all
from conceptbasis.models.stream.native import first_token_kl
from conceptbasis.models.text.generation import first_token_logits, text_nll
from conceptbasis.runs.executor import map_unordered
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.evaluate import make_bench
from conceptbasis.stages.guard import benign_texts
from conceptbasis.study.study import Study

_HALF = 0.5
"""Methods are compared where the native direction leaves this share of the untouched refusal."""

_NOT_MEASURED = ("mentions", "declines")
"""Sets that no comparison at equal damage asks for."""


@dataclass(frozen=True)
class Calibration:
    """What strengths of one method do to benign text, strengths ascending."""

    strengths: Sequence[float]
    kl: Sequence[float]
    perplexity_rise: Sequence[float]


@dataclass(frozen=True)
class Point:
    """One method at one level of damage."""

    method: Condition
    measure: str
    level: float
    strength: float
    reached: bool

    def condition(self, n_prompts: int) -> Condition:
        """What is measured there."""
        assert self.method.intervention is not None
        scaled = self.method.intervention.scaled(self.strength)
        name = f"{self.method.name}_{self.measure}_{self.level:g}"
        return Condition(name, intervention=scaled, n_prompts=n_prompts, without=_NOT_MEASURED)


def run_curve(study: Study, parts: Parts, evaluation: StageOutput) -> StageOutput | None:
    """Runs or reuses the stage; None where `curve.measure` is off."""
    section = study.config.curve
    if not section.measure:
        return None

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        methods = _methods(parts, evaluation)
        bench = make_bench(study, parts, evaluation.tensors["refusal_tokens"])
        calibrated = list(zip(methods, _calibrate(study, parts, methods), strict=True))
        points = [p for method, found in calibrated for p in _points(method, found, section)]
        conditions = [point.condition(section.n_prompts) for point in points]
        conditions.append(
            Condition("untouched", n_prompts=section.n_prompts, without=_NOT_MEASURED)
        )
        folder = study.run.folder / "curve" / "conditions"
        with study.reporter.bar("curve") as advance:
            outcomes = measure_all(bench, conditions, folder, advance)
        return {}, _result(study, points, outcomes, calibrated)

    return study.run.stage(
        "curve",
        config={**section.model_dump(), "evaluate": _measured_with(study)},
        inputs={"evaluate": evaluation.hash},
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )


def _measured_with(study: Study) -> dict[str, Any]:
    return study.config.evaluate.model_dump(include={"max_new_tokens", "n_prompts"})


def _methods(parts: Parts, evaluation: StageOutput) -> list[Condition]:
    """Every method that is compared, the target's own directions, and a draw of each control."""
    parts = replace(parts, study=_in_mode(parts.study))
    own = {name: evaluation.tensors.get(f"{name}.direction") for name in NATIVE}
    found = {name: direction for name, direction in own.items() if direction is not None}
    transfer = parts.intervention
    guarded = plan_intervention(
        parts.harvest, transfer.layers, transfer.directions, parts.study.config.replay
    )
    parts = replace(parts, intervention=guarded)
    return [
        *method_conditions(parts),
        *(c for c in native_conditions(parts, found) if c.name in NATIVE),
        *control_draws(parts),
    ]


def _in_mode(study: Study) -> Study:
    """The study with the form of replay in which methods are compared.

    The run's own γ keeps its sign, so that a run that strengthens refusal is compared so.
    """
    old, mode = study.config.replay, study.config.curve.mode
    gamma = -1.0 if strengthens(old) else 1.0
    replay = old.model_copy(
        update={"mode": mode, "scope": "stream", "gamma": gamma, "which": "all", "offset": 0.0}
    )
    return replace(study, config=study.config.model_copy(update={"replay": replay}))


def _calibrate(study: Study, parts: Parts, methods: Sequence[Condition]) -> list[Calibration]:
    """Benign KL and rise of perplexity of each method over a grid of strengths."""
    section, loaded = study.config.curve, study.target.loaded
    texts = benign_texts(parts.harvest, "report")
    requests = [c[0][1] for t in texts if not isinstance(c := t.content, str) and c[0][0] == "user"]
    if not requests:
        raise PromptError(
            "no benign request in the shared text to find strengths of equal damage on",
            expected="texts of the class chat that begin with a user's turn",
            fix="add such texts to texts.jsonl, or set curve.measure to false",
        )
    messages = [t.as_messages() for t in texts]
    untouched = first_token_logits(loaded, requests)
    before = _log_perplexity(*text_nll(loaded, messages, batch_size=128))
    n = section.n_strengths
    grid = [section.max_strength * (i + 1) / n for i in range(n)]

    def measure(place: tuple[int, float]) -> tuple[float, float]:
        intervention = methods[place[0]].intervention
        assert intervention is not None
        with apply_intervention(loaded, intervention.scaled(place[1])):
            kl = first_token_kl(untouched, first_token_logits(loaded, requests)).mean()
            after = _log_perplexity(*text_nll(loaded, messages, batch_size=128))
        return float(kl), float((after - before).expm1())

    places = [(i, strength) for i in range(len(methods)) for strength in grid]
    done: dict[int, tuple[float, float]] = {}
    with study.reporter.bar("curve: strengths") as advance:
        for place, damage in map_unordered(
            measure, places, n_workers=study.config.n_workers, device=loaded.device.type
        ):
            done[place] = damage
            advance(len(done), len(places), methods[places[place][0]].name)
    rows = [[done[i * n + k] for k in range(n)] for i in range(len(methods))]
    return [Calibration(grid, [d[0] for d in row], [d[1] for d in row]) for row in rows]


def _log_perplexity(nll: Tensor, tokens: Tensor) -> Float[Tensor, ""]:
    return nll.sum() / tokens.sum()


def _points(method: Condition, calibration: Calibration, section: CurveSection) -> list[Point]:
    found = []
    for level in section.kl_levels:
        strength, reached = strength_at(calibration.strengths, calibration.kl, level)
        found.append(Point(method, "kl", level, strength, reached))
    level = section.perplexity_rise
    strength, reached = strength_at(calibration.strengths, calibration.perplexity_rise, level)
    return [*found, Point(method, "perplexity", level, strength, reached)]


def _result(
    study: Study,
    points: Sequence[Point],
    outcomes: Sequence[Outcome],
    calibrated: Sequence[tuple[Condition, Calibration]],
) -> dict[str, Any]:
    """Curves with their areas, and the methods where native sits at half."""
    *measured, untouched = outcomes
    levels = study.config.curve.kl_levels
    weights = area_weights(levels)
    rows: list[dict[str, Any]] = []
    areas: dict[str, Tensor] = {}
    for method, calibration in calibrated:
        own = [(p, o) for p, o in zip(points, measured, strict=True) if p.method is method]
        curve = [untouched, *(o for p, o in own if p.measure == "kl")]
        areas[method.name] = weights @ torch.stack([_verdicts(o) for o in curve])
        rows.append(
            {
                "method": method.name,
                "calibration": {
                    "strength": list(calibration.strengths),
                    "kl": list(calibration.kl),
                    "perplexity_rise": list(calibration.perplexity_rise),
                },
                "points": [_describe(p, o) for p, o in own],
            }
        )
    start = summarise([untouched])
    half = _native_half(rows, start["refusal"]["rate"], levels)
    for row in rows:
        area = areas[row["method"]]
        row["area"] = _interval(study, area)
        row["area_less_transfer"] = _difference(study, areas["transfer"], area)
        row["refusal_at_native_half"] = (
            None if half is None else value_at(levels, _rates(row), start["refusal"]["rate"], half)
        )
    return {
        "kl_levels": list(levels),
        "perplexity_rise": study.config.curve.perplexity_rise,
        "untouched": start,
        "native_half": {"share": _HALF, "kl": half},
        "methods": rows,
    }


def _verdicts(outcome: Outcome) -> Float[Tensor, " n"]:
    """1 refused, 0 not, NaN unscored."""
    values = [float("nan") if v is None else float(v) for v in outcome.refused("harmful")]
    return torch.tensor(values, dtype=torch.float64)


def _describe(point: Point, outcome: Outcome) -> dict[str, Any]:
    return {
        "measure": point.measure,
        "level": point.level,
        "strength": point.strength,
        "reached": point.reached,
        **summarise([outcome]),
    }


def _rates(row: Mapping[str, Any]) -> list[float]:
    """Refusal at each level of KL; answers that cannot be scored count as not refused."""
    return [p["refusal"]["rate"] or 0.0 for p in row["points"] if p["measure"] == "kl"]


def _native_half(
    rows: Sequence[Mapping[str, Any]], start: float, levels: Sequence[float]
) -> float | None:
    """The damage at which native leaves half of the untouched refusal, if it gets there."""
    own = {row["method"]: row for row in rows}
    native = next((own[name] for name in NATIVE if name in own), None)
    return None if native is None else level_where(levels, _rates(native), start, _HALF * start)


def _interval(study: Study, area: Float[Tensor, " n"]) -> dict[str, Any] | None:
    known = area[~area.isnan()]
    if not len(known):
        return None
    return asdict(bootstrap_mean(known, generator=study.generator(91_000)))


def _difference(
    study: Study, transfer: Float[Tensor, " n"], other: Float[Tensor, " n"]
) -> dict[str, Any] | None:
    """Area of a method less that of the transfer, on the same prompts."""
    known = ~(transfer.isnan() | other.isnan())
    if not bool(known.any()):
        return None
    change = paired_bootstrap(transfer[known], other[known], generator=study.generator(92_000))
    return asdict(change)
