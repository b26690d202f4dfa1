"""Stage `fit`: the donor's direction as a sparse recipe over eligible features, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conceptbasis.core.directions.recipe import Recipe, fit_recipe
from conceptbasis.core.statistics.intervals import Interval
from conceptbasis.errors import CoverageError
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.align import Alignment
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.match import MatchSet, mask
from conceptbasis.study.study import Codes, Study

RECIPE_TENSORS = ("feature_ids", "coefficients", "low", "high", "selection_frequency")


@dataclass(frozen=True)
class RecipeSet:
    """One recipe per edited target layer, for the donor layer that stands for it."""

    recipes: Mapping[int, Recipe]
    output: StageOutput


def make_recipe(
    study: Study,
    eligible: Tensor,
    donor_layer: int,
    positive: Tensor,
    negative: Tensor,
    direction: Tensor,
    *,
    salt: int,
    n_resamples: int | None = None,
) -> Recipe:
    """The recipe of one donor layer over eligible features.

    Args:
        study: Gives SAEs and settings.
        eligible: Mask over the donor's features.
        donor_layer: Which donor layer.
        harmful: Residuals with the behaviour.
        harmless: Residuals without it.
        direction: The unit direction it is compared with.
        salt: Makes the random draws of this call its own.
        n_resamples: Bootstrap draws; by default those of the configuration.
    """
    section, sae = study.config.fit, study.donor.sae(donor_layer)
    return fit_recipe(
        sae.encode(positive),
        sae.encode(negative),
        W_dec=sae.W_dec,
        direction=direction,
        eligible=eligible,
        n_atoms=section.n_atoms,
        mass=section.mass,
        n_resamples=n_resamples or section.n_resamples,
        generator=study.generator(salt),
    )


def run_fit(
    study: Study,
    codes: Codes,
    matches: MatchSet,
    direction: DonorDirection,
    alignment: Alignment,
) -> RecipeSet:
    """Runs or reuses the stage.

    Raises:
        CoverageError: if no eligible feature carries any part of the direction.
    """
    pairs = alignment.layer_map.pairs

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        rows = []
        for target, donor in pairs:
            eligible = mask(
                matches.pairs[(target, donor)].eligible_donor, study.donor.sae(donor).d_sae
            )
            recipe = make_recipe(
                study,
                eligible,
                donor,
                direction.positive[donor],
                direction.negative[donor],
                direction.trajectory[donor],
                salt=31 * target,
            )
            if len(recipe.feature_ids) == 0:
                raise CoverageError(
                    f"no eligible donor feature of layer {donor} differs between the classes",
                    expected="at least one matched feature with a code difference",
                    fix="use more transfer text, or lower match.r_min",
                )
            tensors |= {f"{target:02d}.{f}": getattr(recipe, f) for f in RECIPE_TENSORS}
            density = torch.from_numpy((codes("donor", donor) != 0).mean(axis=0).A1)
            rows.append(_row(target, donor, recipe, density))
        return tensors, {"layers": rows}

    output = study.run.stage(
        "fit",
        config=study.config.fit.model_dump(),
        inputs={
            "match": matches.output.hash,
            "direction": direction.output.hash,
            "align": alignment.output.hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    return RecipeSet({row["target"]: _load(output, row) for row in output.result["layers"]}, output)


def _row(target: int, donor: int, recipe: Recipe, density: Tensor) -> dict[str, Any]:
    return {
        "target": target,
        "donor": donor,
        "eligible_mass": asdict(recipe.eligible_mass) if recipe.eligible_mass else None,
        "donor_cosine": recipe.donor_cosine,
        "n_eligible": recipe.n_eligible,
        "atoms": [
            {
                "feature": feature,
                "coefficient": float(recipe.coefficients[i]),
                "low": float(recipe.low[i]),
                "high": float(recipe.high[i]),
                "frequency": float(recipe.selection_frequency[i]),
                "unstable": bool(recipe.unstable[i]),
                "density": float(density[feature]),
            }
            for i, feature in enumerate(recipe.feature_ids.tolist())
        ],
    }


def _load(output: StageOutput, row: Mapping[str, Any]) -> Recipe:
    fields = {f: output.tensors[f"{row['target']:02d}.{f}"] for f in RECIPE_TENSORS}
    mass = row["eligible_mass"]
    return Recipe(
        **fields,
        eligible_mass=Interval(**mass) if mass else None,
        donor_cosine=row["donor_cosine"],
        n_eligible=row["n_eligible"],
    )
