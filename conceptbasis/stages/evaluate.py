"""Stage `evaluate`: the behavior and capability under every method, with intervals.

The target's labels are read here for the first time, after the transfer's artifacts were hashed.
"""

from __future__ import annotations

from typing import Any

from conceptbasis.evaluation.evaluate import evaluate_all
from conceptbasis.methods.bridge import Bridge
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded, Replayed
from conceptbasis.results.evaluation import Baselines, Evaluation
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def evaluate(study: Study, *results: Any) -> Evaluation:
    """Measures the target under every method of the run."""
    return evaluate_all(study, Bridge.of(study, *results))


EVALUATE = Stage(
    "evaluate",
    Evaluation,
    evaluate,
    needs=(
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
    config=(
        "behavior",
        "evaluate",
        "-evaluate.batch_size",
        "replay",
        "direction",
        "fit",
        "transfer",
    ),
    reads_labels=True,
)
