"""`summary.json` and the portable recipe: what others read of a run."""

from __future__ import annotations

from typing import TypeVar

from conceptbasis.edits.recipe_file import write_recipe_files
from conceptbasis.evaluation.verdict import judge_transfer
from conceptbasis.results.atoms import Stability
from conceptbasis.results.edit import Forecast, Replayed
from conceptbasis.results.evaluation import Curve, Evaluation
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.results.summary import (
    SCHEMA,
    CurveSummary,
    MethodArea,
    RecipeSummary,
    Seeds,
    Summary,
    Verdict,
)
from conceptbasis.runs import summary as files
from conceptbasis.runs.graph import Graph
from conceptbasis.runs.storage import to_json
from conceptbasis.study.opening import describe_side
from conceptbasis.study.study import Study

R = TypeVar("R")


def write_summary(study: Study, graph: Graph) -> Summary:
    """Writes `summary.json`; without an evaluation the forecast rejected the transfer.

    Args:
        study: Settings, models and ledger.
        graph: Gives the results of the stages that ran.
    """
    summary = _summary(study, graph)
    files.write_summary(study.folder, summary)
    return summary


def _summary(study: Study, graph: Graph) -> Summary:
    config, transfer, forecast = study.config, graph.get(Transfer), graph.get(Forecast)
    evaluation, curve = _find(graph, Evaluation), _find(graph, Curve)
    return Summary(
        schema=SCHEMA,
        behavior=study.behavior.name,
        donor=describe_side(study.donor),
        target=describe_side(study.target),
        budget=config.budget,
        ledger=study.ledger.shown,
        seeds=Seeds(config.seed, config.prompts.seed),
        mode=config.replay.mode,
        scope=config.replay.scope,
        gamma=_gamma(study, _find(graph, Replayed)),
        offset=_offset(study, _find(graph, Replayed)),
        route=transfer.route,
        layer_map=transfer.layer_map,
        plan=transfer.plan,
        max_new_tokens=config.evaluate.max_new_tokens,
        verdict=_verdict(study, forecast, evaluation),
        primary_judge=None if evaluation is None else evaluation.primary_judge,
        forecast=forecast.figures,
        recipe=_recipe(transfer, graph.get(RecipeSet), _find(graph, Stability)),
        agreement_of_judges=() if evaluation is None else evaluation.agreement_of_judges,
        batch_flips=None if evaluation is None else evaluation.batch_flips,
        by_length=() if evaluation is None else evaluation.by_length,
        conditions=() if evaluation is None else evaluation.conditions,
        curve=None if curve is None else _curve(curve),
    )


def _find(graph: Graph, kind: type[R]) -> R | None:
    done = graph.find(kind)
    return None if done is None else done.result


def _recipe(transfer: Transfer, recipes: RecipeSet, stability: Stability | None) -> RecipeSummary:
    return RecipeSummary(
        tuple(len(row.donor_atoms) for row in transfer.layers),
        tuple(len(row.target_atoms) for row in transfer.layers),
        tuple(row.donor_cosine for row in recipes.layers),
        None if stability is None else stability.all_layers,
    )


def _verdict(study: Study, forecast: Forecast, evaluation: Evaluation | None) -> Verdict:
    if evaluation is None:
        return Verdict("rejected", "; ".join(forecast.reasons))
    changes = evaluation.capability_change
    return judge_transfer(evaluation.conditions, changes, study.config.replay, study.behavior)


def _gamma(study: Study, replayed: Replayed | None) -> float | None:
    """The strength, None where it was to be found and the transfer was rejected before."""
    gamma = study.config.replay.gamma
    if gamma != "auto":
        return gamma
    return None if replayed is None else replayed.gamma


def _offset(study: Study, replayed: Replayed | None) -> float | None:
    """How far below their mean readings are set, None where no mean counts or none was found."""
    section = study.config.replay
    if not section.has_offset:
        return None
    if section.offset != "auto":
        return section.offset
    strength = None if replayed is None else replayed.strength
    return None if strength is None else strength.value


def _curve(curve: Curve) -> CurveSummary:
    return CurveSummary(
        curve.kl_levels,
        curve.native_half_kl,
        {
            row.method: MethodArea(row.area, row.area_less_transfer, row.rate_at_native_half)
            for row in curve.methods
        },
    )


def write_recipe(study: Study, graph: Graph) -> None:
    """Writes the recipe as one portable pair of files, `recipe.json` and `recipe.safetensors`.

    Args:
        study: Names models and SAEs.
        graph: Gives the recipes, what they became in the target, and the finished edit.
    """
    transfer, replayed = graph.get(Transfer), graph.get(Replayed)
    donor_atoms = {row.target: row.atoms for row in graph.get(RecipeSet).layers}
    content = {
        "schema": SCHEMA,
        "behavior": study.behavior.name,
        **{
            name: {
                "model": side.config.model,
                "hash": side.model_hash,
                "weights": replayed.weights[name],
            }
            for name, side in (("donor", study.donor), ("target", study.target))
        },
        "saes": {"donor": study.donor.saes_hash, "target": study.target.saes_hash},
        "layers": [
            {
                "target": row.target,
                "donor": row.donor,
                "donor_atoms": to_json(donor_atoms[row.target]),
                "target_atoms": to_json(row.target_atoms),
            }
            for row in transfer.layers
        ],
    }
    write_recipe_files(study.folder, content, replayed, {"steering": transfer.steering})
