"""`summary.json` and the portable recipe: what others read of a run."""

from __future__ import annotations

from pathlib import Path

from conceptbasis.edits.intervention import intervention_of
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
    SideSaes,
    SideSummary,
    Summary,
    Verdict,
)
from conceptbasis.runs.files import save_tensors, value_hash, write_json
from conceptbasis.runs.storage import to_json
from conceptbasis.study.study import Side, Study

RECIPE = "recipe.json"


def make_summary(
    study: Study,
    recipes: RecipeSet,
    transfer: Transfer,
    forecast: Forecast,
    replayed: Replayed | None = None,
    evaluation: Evaluation | None = None,
    curve: Curve | None = None,
    stability: Stability | None = None,
) -> Summary:
    """The summary of a run; without an evaluation the forecast rejected the transfer.

    Args:
        study: Settings, models and ledger.
        recipes: Of stage `fit`.
        transfer: Of stage `transfer`.
        forecast: Of stage `forecast`.
        replayed: Of stage `replay`, if it ran.
        evaluation: Of stage `evaluate`, if it ran.
        curve: Of stage `curve`, if it ran.
        stability: Of stage `stability`, if it ran.
    """
    config = study.config
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
        gamma=_gamma(study, replayed),
        route=transfer.route,
        layer_map=transfer.layer_map,
        plan=transfer.plan if replayed is None else replayed.plan,
        max_new_tokens=config.evaluate.max_new_tokens,
        verdict=_verdict(study, forecast, evaluation),
        primary_judge=None if evaluation is None else evaluation.primary_judge,
        forecast=forecast.figures,
        recipe=RecipeSummary(
            tuple(len(row.donor_atoms) for row in transfer.layers),
            tuple(len(row.target_atoms) for row in transfer.layers),
            tuple(row.donor_cosine for row in recipes.layers),
            None if stability is None else stability.all_layers,
        ),
        agreement_of_judges=() if evaluation is None else evaluation.agreement_of_judges,
        batch_flips=None if evaluation is None else evaluation.batch_flips,
        conditions=() if evaluation is None else evaluation.conditions,
        curve=None if curve is None else _curve(curve),
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


def _curve(curve: Curve) -> CurveSummary:
    return CurveSummary(
        curve.kl_levels,
        curve.native_half_kl,
        {
            row.method: MethodArea(row.area, row.area_less_transfer, row.rate_at_native_half)
            for row in curve.methods
        },
    )


def describe_side(side: Side) -> SideSummary:
    """A model with its SAEs, as it stands in a summary."""
    architecture = side.loaded.architecture
    return SideSummary(
        side.config.name,
        side.config.model,
        side.config.revision,
        architecture.n_layers,
        architecture.d_model,
        len(side.loaded.tokenizer),
        side.model_hash,
        SideSaes(
            side.saes.hash,
            tuple(side.saes.quality),
            tuple(side.saes.warnings),
            # None where SAEs were not trained here: nobody can say what they have read.
            dict(side.saes.texts) or None,
        ),
    )


def write_recipe(
    study: Study, folder: Path, recipes: RecipeSet, transfer: Transfer, replayed: Replayed
) -> None:
    """Writes the recipe as one portable pair of files, `recipe.json` and `recipe.safetensors`.

    Args:
        study: Names models and SAEs.
        folder: Where the files go.
        recipes: The donor's recipes.
        transfer: What they became in the target.
        replayed: The finished edit.
    """
    donor_atoms = {row.target: row.atoms for row in recipes.layers}
    content = {
        "schema": SCHEMA,
        "behavior": study.behavior.name,
        "donor": {"model": study.donor.config.model, "hash": study.donor.model_hash},
        "target": {"model": study.target.config.model, "hash": study.target.model_hash},
        "saes": {"donor": study.donor.saes_hash, "target": study.target.saes_hash},
        "mode": replayed.mode,
        "scope": replayed.scope,
        "gamma": replayed.gamma,
        "amounts": to_json(replayed.amounts),
        "thresholds": to_json(replayed.thresholds),
        "plan": to_json(replayed.plan),
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
    edit = intervention_of(replayed)
    assert edit.means is not None
    gates = {} if edit.gates is None else {"gates": edit.gates}
    tensors = {"directions": edit.directions, "means": edit.means, "steering": transfer.steering}
    save_tensors(folder / "recipe.safetensors", tensors | gates)
    write_json(folder / RECIPE, {**content, "hash": value_hash(content)})
