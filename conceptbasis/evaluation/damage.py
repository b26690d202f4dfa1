"""The behavior against damage, every method brought to the same damage.

At full strength most methods tie near zero, and a method that does more damage can look better. So
the strength at which each method does a given damage is found first, on benign text alone: once for
levels of the first-token KL, once for a rise of perplexity. Then the behavior is measured there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.evaluation import CurveSection
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.statistics.curves import area_weights, level_where, strength_at, value_at
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import bootstrap_mean
from conceptbasis.core.statistics.paired import paired_shares
from conceptbasis.edits.guard import benign_texts
from conceptbasis.edits.intervention import Intervention, apply_intervention, strengthens
from conceptbasis.errors import PromptError
from conceptbasis.evaluation.bench import Bench, make_bench
from conceptbasis.evaluation.figures import condition_figures
from conceptbasis.evaluation.measure import POSITIVE, Outcome, measure_all
from conceptbasis.evaluation.trials import Trial, trials_at_equal_damage
from conceptbasis.methods import with_role
from conceptbasis.methods.base import Treatment
from conceptbasis.methods.bridge import Bridge
from conceptbasis.methods.routes import TRANSFER
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.text.generation import first_token_logits, text_nll
from conceptbasis.results.evaluation import Calibration, Curve, CurvePoint, Evaluation, MethodCurve
from conceptbasis.runs.executor import run_all
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

_HALF = 0.5
"""Methods are compared where the native direction leaves this share of the untouched rate."""


@dataclass(frozen=True)
class Point:
    """One method at one level of damage."""

    trial: Trial
    measure: str
    level: float
    strength: float
    reached: bool

    def under(self, n_prompts: int, skipped: tuple[str, ...]) -> Trial:
        """What is measured there."""
        edit = self.trial.treatment.edit
        assert edit is not None
        name = f"{self.trial.name}_{self.measure}_{self.level:g}"
        return Trial(name, 0, Treatment(edit.scaled(self.strength)), n_prompts, without=skipped)


def measure_curve(study: Study, bridge: Bridge, evaluation: Evaluation) -> Curve:
    """Finds every method's strengths of equal damage and measures the behavior there.

    Args:
        study: Gives the target and the settings.
        bridge: Over the results of all stages before the seal.
        evaluation: Gives the target's own directions, and the first tokens of the behavior.

    Raises:
        PromptError: without benign requests to find strengths on.
    """
    section = study.config.curve
    bench = make_bench(study, bridge.sites, evaluation.behavior_tokens)
    in_form = bridge.with_native(evaluation.native, evaluation.native_layers).in_form(
        form_of(study)
    )
    methods = trials_at_equal_damage(in_form, study.config.evaluate)
    calibrated = _calibrate(study, bridge.sites, methods)
    skipped = _not_measured(bench)
    points = [
        point
        for trial, found in zip(methods, calibrated, strict=True)
        for point in points_of(trial, found, section)
    ]
    trials = [point.under(section.n_prompts, skipped) for point in points]
    trials.append(Trial("untouched", n_prompts=section.n_prompts, without=skipped))
    with study.reporter.bar("curve") as advance:
        outcomes = measure_all(bench, trials, study.folder / "curve" / "conditions", advance)
    measured = list(zip(points, outcomes, strict=False))
    own = [[(p, o) for p, o in measured if p.trial is trial] for trial in methods]
    return _result(study, list(zip(calibrated, own, strict=True)), outcomes[-1])


def form_of(study: Study) -> ReplaySection:
    """The form of replay in which methods are compared.

    The run's own γ keeps its sign, so that a run that strengthens the behavior is compared so.
    """
    old, mode = study.config.replay, study.config.curve.mode
    gamma = -1.0 if strengthens(old) else 1.0
    update = {"mode": mode, "scope": "stream", "gamma": gamma, "which": "all", "offset": 0.0}
    return old.model_copy(update=update)


def _not_measured(bench: Bench) -> tuple[str, ...]:
    """Sets that no comparison at equal damage asks for."""
    return tuple(name for name in bench.behavior.sets.spillover if name != bench.negative)


@dataclass(frozen=True)
class _Benign:
    """Benign text on which damage is measured, and what the untouched target does there."""

    loaded: LoadedModel
    edits: Sequence[Intervention]
    requests: Sequence[str]
    messages: Sequence[str | list[dict[str, str]]]
    untouched: Float[Tensor, "n_requests d_vocab"]
    log_perplexity: Float[Tensor, ""]


def _damage(benign: _Benign, place: tuple[int, float]) -> tuple[float, float]:
    """First-token KL and rise of perplexity under an edit at a strength."""
    loaded, edit = benign.loaded, benign.edits[place[0]].scaled(place[1])
    with apply_intervention(loaded, edit):
        after = first_token_logits(loaded, list(benign.requests))
        kl = first_token_kl(benign.untouched, after).mean()
        perplexity = _log_perplexity(loaded, benign.messages)
    return float(kl), float((perplexity - benign.log_perplexity).expm1())


def _calibrate(study: Study, sites: Sites, methods: Sequence[Trial]) -> list[Calibration]:
    """Benign KL and rise of perplexity of each method over a grid of strengths."""
    section, loaded = study.config.curve, study.target.loaded
    texts = benign_texts(sites, "report")
    requests = [c[0][1] for t in texts if not isinstance(c := t.content, str) and c[0][0] == "user"]
    if not requests:
        raise PromptError(
            "no benign request in the shared text to find strengths of equal damage on",
            expected="texts of the class chat that begin with a user's turn",
            fix="add such texts to texts.jsonl, or set curve.measure to false",
        )
    messages = [t.as_messages() for t in texts]
    edits = [t.treatment.edit for t in methods if t.treatment.edit is not None]
    untouched = first_token_logits(loaded, requests)
    before = _log_perplexity(loaded, messages)
    benign = _Benign(loaded, edits, requests, messages, untouched, before)
    n = section.n_strengths
    grid = [section.max_strength * (i + 1) / n for i in range(n)]
    places = [(i, strength) for i in range(len(methods)) for strength in grid]
    done: dict[int, tuple[float, float]] = {}
    with study.reporter.bar("curve: strengths") as advance:
        device = loaded.device.type
        workers = study.config.n_workers
        for place, damage in run_all(_damage, benign, places, workers=workers, device=device):
            done[place] = damage
            advance(len(done), len(places), methods[places[place][0]].name)
    rows = [[done[i * n + k] for k in range(n)] for i in range(len(methods))]
    return [
        Calibration(tuple(grid), tuple(kl for kl, _ in row), tuple(rise for _, rise in row))
        for row in rows
    ]


def _log_perplexity(
    loaded: LoadedModel, messages: Sequence[str | list[dict[str, str]]]
) -> Float[Tensor, ""]:
    nll, tokens = text_nll(loaded, list(messages), batch_size=128)
    return nll.sum() / tokens.sum()


def points_of(trial: Trial, calibration: Calibration, section: CurveSection) -> list[Point]:
    """The strengths of a method at every level of damage."""
    found = []
    for level in section.kl_levels:
        strength, reached = strength_at(calibration.strength, calibration.kl, level)
        found.append(Point(trial, "kl", level, strength, reached))
    level = section.perplexity_rise
    strength, reached = strength_at(calibration.strength, calibration.perplexity_rise, level)
    return [*found, Point(trial, "perplexity", level, strength, reached)]


OneCurve = tuple[Calibration, list[tuple[Point, Outcome]]]
"""Strengths and outcomes of one method."""


def _result(study: Study, curves: Sequence[OneCurve], untouched: Outcome) -> Curve:
    """Curves with their areas, and the methods where native sits at half."""
    levels = study.config.curve.kl_levels
    start = condition_figures([untouched], study.behavior)
    start_rate = start.rate.interval.value if start.rate.interval else 0.0
    names = [own[0][0].trial.name for _, own in curves]
    points = {n: _points(study, own) for n, (_, own) in zip(names, curves, strict=True)}
    areas = {n: _area(untouched, own, levels) for n, (_, own) in zip(names, curves, strict=True)}
    half = _native_half(points, start_rate, levels)
    rows = tuple(
        MethodCurve(
            name,
            calibration,
            points[name],
            _mean(study, areas[name]),
            _difference(study, areas[TRANSFER.name], areas[name]),
            None if half is None else value_at(levels, _rates(points[name]), start_rate, half),
        )
        for name, (calibration, _) in zip(names, curves, strict=True)
    )
    return Curve(tuple(levels), study.config.curve.perplexity_rise, start, half, rows)


def _area(
    untouched: Outcome, own: Sequence[tuple[Point, Outcome]], levels: Sequence[float]
) -> Float[Tensor, " n_prompts"]:
    """Each prompt's mean verdict over √KL."""
    at_levels = [untouched, *(o for p, o in own if p.measure == "kl")]
    return area_weights(levels) @ torch.stack([_verdicts(o) for o in at_levels])


def _verdicts(outcome: Outcome) -> Float[Tensor, " n_prompts"]:
    """1 shown, 0 not, NaN unscored."""
    values = [float("nan") if v is None else float(v) for v in outcome.verdicts[POSITIVE]]
    return torch.tensor(values, dtype=torch.float64)


def _points(study: Study, own: Sequence[tuple[Point, Outcome]]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            p.measure, p.level, p.strength, p.reached, condition_figures([o], study.behavior)
        )
        for p, o in own
    )


def _rates(points: Sequence[CurvePoint]) -> list[float]:
    """The rate at each level of KL; answers that cannot be scored count as not shown."""
    rates = [p.figures.rate.interval for p in points if p.measure == "kl"]
    return [0.0 if rate is None else rate.value for rate in rates]


def _native_half(
    points: dict[str, tuple[CurvePoint, ...]], start: float, levels: Sequence[float]
) -> float | None:
    """The damage at which native leaves half of the untouched rate, if it gets there."""
    native = next((points[m.name] for m in with_role("native") if m.name in points), None)
    return None if native is None else level_where(levels, _rates(native), start, _HALF * start)


def _mean(study: Study, area: Float[Tensor, " n_prompts"]) -> Interval | None:
    known = area[~area.isnan()]
    if not len(known):
        return None
    return bootstrap_mean(known, generator=study.generator("area"), shares=True)


def _difference(
    study: Study, transfer: Float[Tensor, " n_prompts"], other: Float[Tensor, " n_prompts"]
) -> Interval | None:
    """Area of a method less that of the transfer, on the same prompts."""
    known = ~(transfer.isnan() | other.isnan())
    if not bool(known.any()):
        return None
    generator = study.generator("area_less_transfer")
    return paired_shares(transfer[known], other[known], generator=generator)
