"""`summary.json` and the portable recipe: what others read of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conceptbasis.edits.intervention import Intervention
from conceptbasis.edits.spread import single_layer
from conceptbasis.evaluation.verdict import judge_transfer
from conceptbasis.runs.files import save_tensors, value_hash, write_json
from conceptbasis.runs.stage import StageOutput, load_stage
from conceptbasis.saes.quality import plain_rows
from conceptbasis.stages.fit import RecipeSet
from conceptbasis.stages.transfer import Transfer
from conceptbasis.study.study import Side, Study

SCHEMA = 1


def write_summary(
    study: Study,
    recipes: RecipeSet,
    transfer: Transfer,
    forecast: StageOutput,
    evaluation: StageOutput | None = None,
    curve: StageOutput | None = None,
    stability: StageOutput | None = None,
) -> dict[str, Any]:
    """Writes `summary.json` and returns it; without an evaluation the transfer was declined."""
    config = study.config
    rows = transfer.output.result["layers"]
    if evaluation is None:
        verdict = {"word": "declined", "reason": "; ".join(forecast.result["reasons"])}
        conditions: Sequence[Mapping[str, Any]] = []
        judge = None
    else:
        conditions = evaluation.result["conditions"]
        verdict = judge_transfer(conditions, evaluation.result["capability_change"], config.replay)
        judge = evaluation.result["primary_judge"]
    summary = {
        "schema": SCHEMA,
        "donor": describe_side(study.donor),
        "target": describe_side(study.target),
        "budget": config.budget,
        "ledger": study.ledger.as_list(),
        "seeds": {"run": config.seed, "prompts": config.prompts.seed},
        "mode": config.replay.mode,
        "scope": config.replay.scope,
        "gamma": _gamma(study, evaluation),
        "basis": transfer.output.result["basis"],
        "layer_map": [[row["target"], row["donor"]] for row in rows],
        "single_layer": _single_layer(study, transfer),
        "max_new_tokens": config.evaluate.max_new_tokens,
        "verdict": verdict,
        "primary_judge": judge,
        "forecast": forecast.result["figures"],
        "recipe": {
            "n_atoms_per_layer": [len(row["donor_atoms"]) for row in rows],
            "n_target_atoms_per_layer": [len(row["target_atoms"]) for row in rows],
            "donor_cosine_per_layer": [
                row["donor_cosine"] for row in recipes.output.result["layers"]
            ],
            "stability": None if stability is None else dict(stability.result["all_layers"]),
        },
        "agreement_of_judges": []
        if evaluation is None
        else evaluation.result["agreement_of_judges"],
        "batch_flips": None if evaluation is None else evaluation.result["batch_flips"],
        "conditions": list(conditions),
        "curve": None if curve is None else _curve_figures(curve.result),
    }
    write_json(study.run.folder / "summary.json", summary)
    return summary


def _gamma(study: Study, evaluation: StageOutput | None) -> float | None:
    """The strength, None where it was to be found and the transfer was declined before."""
    gamma = study.config.replay.gamma
    if gamma != "auto":
        return gamma
    if evaluation is None:
        return None
    return float(load_stage(study.run.folder, "replay").result["gamma"])


def _curve_figures(result: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("area", "area_less_transfer", "refusal_at_native_half")
    return {
        "kl_levels": result["kl_levels"],
        "native_half": result["native_half"],
        "methods": {row["method"]: {k: row[k] for k in keys} for row in result["methods"]},
    }


def _single_layer(study: Study, transfer: Transfer) -> int | None:
    """The layer whose direction is replayed everywhere, None where each layer has its own."""
    selections = transfer.selections(transfer.basis)
    return single_layer(selections, study.config.replay, study.target.n_layers)


def describe_side(side: Side) -> dict[str, Any]:
    """A model with its SAEs, as it stands in a summary."""
    architecture = side.loaded.architecture
    return {
        "name": side.config.name,
        "model": side.config.model,
        "revision": side.config.revision,
        "n_layers": architecture.n_layers,
        "d_model": architecture.d_model,
        "d_vocab": len(side.loaded.tokenizer),
        "hash": side.model_hash,
        "saes": {
            "hash": side.saes.hash,
            "quality": plain_rows(side.saes.quality),
            "warnings": list(side.saes.warnings),
            # Null where SAEs were not trained here: nobody can say what they have read.
            "texts": dict(side.saes.texts) or None,
        },
    }


def write_recipe(
    study: Study, recipes: RecipeSet, transfer: Transfer, intervention: Intervention
) -> None:
    """Writes the recipe as one portable pair of files, `recipe.json` and `recipe.safetensors`."""
    rows = transfer.output.result["layers"]
    donor_rows = {row["target"]: row for row in recipes.output.result["layers"]}
    content = {
        "schema": SCHEMA,
        "donor": {"model": study.donor.config.model, "hash": study.donor.model_hash},
        "target": {"model": study.target.config.model, "hash": study.target.model_hash},
        "saes": {"donor": study.donor.saes.hash, "target": study.target.saes.hash},
        "mode": intervention.mode,
        "scope": intervention.scope,
        "gamma": intervention.gamma,
        "amounts": list(intervention.amounts),
        "thresholds": list(intervention.thresholds),
        "edited_layers": list(intervention.layers),
        "single_layer": _single_layer(study, transfer),
        "layers": [
            {
                "target": row["target"],
                "donor": row["donor"],
                "donor_atoms": donor_rows[row["target"]]["atoms"],
                "target_atoms": row["target_atoms"],
            }
            for row in rows
        ],
    }
    folder = study.run.folder
    assert intervention.means is not None
    gates = {} if intervention.gates is None else {"gates": intervention.gates}
    tensors = {
        **gates,
        "directions": intervention.directions,
        "means": intervention.means,
        "steering": transfer.steering,
    }
    save_tensors(folder / "recipe.safetensors", tensors)
    write_json(folder / "recipe.json", {**content, "hash": value_hash(content)})
