"""Stage `curve`: the behavior against damage, every method brought to the same damage."""

from __future__ import annotations

from typing import Any

from conceptbasis.evaluation.damage import measure_curve
from conceptbasis.methods.bridge import Bridge
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded, Replayed
from conceptbasis.results.evaluation import Baselines, Curve, Evaluation
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def curve(study: Study, evaluation: Evaluation, *results: Any) -> Curve:
    """Finds strengths of equal damage on benign text and measures the behavior there."""
    return measure_curve(study, Bridge.of(study, *results), evaluation)


CURVE = Stage(
    "curve",
    Curve,
    curve,
    needs=(
        Evaluation,
        Harvest,
        DonorDirection,
        MatchSet,
        Alignment,
        RecipeSet,
        Transfer,
        Guarded,
        Replayed,
        Baselines,
    ),
    sources=("target", "target.saes", "prompts.evaluation", "concepts"),
    config=("curve", "evaluate.max_new_tokens", "evaluate.n_prompts", "replay"),
    wanted=lambda config: config.curve.measure,
    reads_labels=True,
)
