"""Stage `flows`: the behavior without each of the recipe's largest concepts, and with it alone.

It is off unless `flows.n_flows` is set, since it explains a result and changes none.
"""

from __future__ import annotations

from typing import Any

from conceptbasis.evaluation.flows import measure_flows
from conceptbasis.methods.bridge import Bridge
from conceptbasis.results.atoms import Atoms, FlowEffects
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded, Replayed
from conceptbasis.results.evaluation import Evaluation
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def flows(study: Study, atoms: Atoms, evaluation: Evaluation, *results: Any) -> FlowEffects:
    """Rebuilds the recipe without each flow and from each alone, and measures both."""
    return measure_flows(study, Bridge.of(study, *results), atoms, evaluation)


FLOWS = Stage(
    "flows",
    FlowEffects,
    flows,
    needs=(
        Atoms,
        Evaluation,
        Harvest,
        DonorDirection,
        MatchSet,
        RecipeSet,
        Transfer,
        Guarded,
        Replayed,
    ),
    sources=("target", "target.saes", "prompts.evaluation"),
    config=("flows", "evaluate.max_new_tokens", "transfer", "replay"),
    wanted=lambda config: config.flows.n_flows > 0,
    reads_labels=True,
)
