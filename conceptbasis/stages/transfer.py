"""Stage `transfer`: recipes rebuilt in the target, in three bases, without any target label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.features.matching import Matches
from conceptbasis.edits.spread import NEARLY, surest_layer
from conceptbasis.methods.rebuilder import BASES, Choice, Rebuilder
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.align import Alignment
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.fit import RecipeSet
from conceptbasis.stages.match import LayerPair
from conceptbasis.study.study import Study


@dataclass(frozen=True)
class Transfer:
    """Unit directions in the target by basis, one row per edited layer."""

    layers: tuple[int, ...]
    directions: Mapping[str, Float[Tensor, "n_edited d_target"]]
    steering: Float[Tensor, "n_edited d_target"]
    output: StageOutput

    @property
    def basis(self) -> str:
        """The basis of the transfer; the others are ablations."""
        return str(self.output.result["basis"])

    def selections(self, basis: str) -> dict[int, float]:
        """Projection agreement of a basis by target layer, on the sites of the choices."""
        rows = self.output.result["layers"]
        return {row["target"]: row["selection_by_basis"][basis] for row in rows}


def run_transfer(
    study: Study,
    rebuilder: Rebuilder,
    recipes: RecipeSet,
    direction: DonorDirection,
    alignment: Alignment,
) -> Transfer:
    """Runs or reuses the stage."""
    pairs = alignment.layer_map.pairs
    section = study.config.transfer

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        found: list[dict[str, Choice]] = []
        with study.reporter.bar("transfer") as advance:
            for pair in pairs:
                recipe, r = recipes.recipes[pair[0]], direction.trajectory[pair[1]]
                found.append({b: rebuilder.rebuild(b, pair, recipe, r) for b in BASES})
                advance(len(found), len(pairs), "")
        basis = choose_basis(study, [target for target, _ in pairs], found)
        units = {b: torch.stack([f[b].rebuilt.direction for f in found]) for b in BASES}
        tensors = {f"{b}.direction": directions for b, directions in units.items()} | {
            "direction": units[basis].clone(),
            "steering": torch.stack([f[basis].rebuilt.steering for f in found]),
        }
        rows = [
            _row(rebuilder, pair, recipes.recipes[pair[0]], choices, basis)
            for pair, choices in zip(pairs, found, strict=True)
        ]
        return tensors, {"basis": basis, "class_shares": rebuilder.weigh.shares, "layers": rows}

    output = study.run.stage(
        "transfer",
        config={**section.model_dump(), "early_fraction": study.config.replay.early_fraction},
        inputs={
            "fit": recipes.output.hash,
            "harvest": rebuilder.harvest.hash,
            "target_saes": study.target.saes.hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    return Transfer(
        tuple(target for target, _ in pairs),
        {name: output.tensors[f"{name}.direction"] for name in BASES},
        output.tensors["steering"],
        output,
    )


def choose_basis(study: Study, layers: Sequence[int], found: Sequence[Mapping[str, Choice]]) -> str:
    """The basis of `transfer.basis`; under `auto` the first readable one that loses nothing.

    `code_map` names features on both sides. Where the target's codes hold too little of what the
    donor's say, its agreement falls below that of `transported`, which goes to residuals directly.

    Args:
        study: Says what is wanted.
        layers: Target layers.
        found: What each basis gave at each of them.
    """
    wanted = study.config.transfer.route
    if wanted != "auto":
        return wanted
    n_layers, fraction = study.target.n_layers, study.config.replay.early_fraction
    best = {}
    for basis in ("code_map", "transported"):
        selections = {
            layer: choices[basis].selection for layer, choices in zip(layers, found, strict=True)
        }
        best[basis] = selections[surest_layer(selections, fraction, n_layers)]
    loses = best["code_map"] < best["transported"] - NEARLY * abs(best["transported"])
    return "transported" if loses else "code_map"


def _row(
    rebuilder: Rebuilder,
    pair: LayerPair,
    recipe: Recipe,
    choices: Mapping[str, Choice],
    basis: str,
) -> dict[str, Any]:
    chosen = choices[basis]
    matches = rebuilder.matches.pairs[pair]
    density = (rebuilder.codes("target", pair[0]) != 0).mean(axis=0).A1
    return {
        "target": pair[0],
        "donor": pair[1],
        "strength": chosen.strength,
        "agreement": chosen.agreement,
        "agreement_by_basis": {name: c.agreement for name, c in choices.items()},
        "selection_by_basis": {name: c.selection for name, c in choices.items()},
        "agreement_by_strength": {str(s): a for s, a in chosen.by_strength.items()},
        "donor_atoms": [
            _donor_atom(feature, float(recipe.coefficients[i]), matches)
            for i, feature in enumerate(recipe.feature_ids.tolist())
        ],
        "target_atoms": [
            {"feature": f, "coefficient": float(c), "density": float(density[f])}
            for f, c in zip(
                chosen.rebuilt.target_ids.tolist(),
                chosen.rebuilt.target_coefficients.tolist(),
                strict=True,
            )
        ],
    }


def _donor_atom(feature: int, coefficient: float, matches: Matches) -> dict[str, Any]:
    best = matches.best_target(feature)
    row = ((matches.donor_ids == feature) & (matches.target_ids == best)).nonzero()[0, 0]
    return {
        "feature": feature,
        "coefficient": coefficient,
        "target_feature": best,
        "r_heldout": float(matches.r_heldout[row]),
        "null_quantile": float(matches.null_quantile[row]),
    }
