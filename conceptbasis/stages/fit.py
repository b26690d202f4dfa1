"""Stage `fit`: the donor's direction as a sparse recipe over matched latents, layer by layer."""

from __future__ import annotations

from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.errors import CoverageError
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.layers import LayerPair
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import FittedAtom, LayerRecipe, RecipeSet
from conceptbasis.runs.graph import Stage
from conceptbasis.study.codes import mask
from conceptbasis.study.recipes import make_recipe, matches_by_pair
from conceptbasis.study.study import Study


def fit(
    study: Study,
    harvest: Harvest,
    direction: DonorDirection,
    matches: MatchSet,
    alignment: Alignment,
) -> RecipeSet:
    """One recipe for each mapped target layer.

    Raises:
        CoverageError: if no eligible latent carries any part of the direction.
    """
    known = matches_by_pair(matches)
    rows = []
    for target, donor in alignment.layer_map:
        eligible = mask(known[target, donor].eligible_donor, study.donor.sae(donor).d_sae)
        recipe = make_recipe(
            study,
            eligible,
            donor,
            direction.positive[donor],
            direction.negative[donor],
            direction.per_layer[donor],
            generator=study.generator("fit", target),
        )
        if len(recipe.feature_ids) == 0:
            raise CoverageError(
                f"no eligible donor latent of layer {donor} differs between the classes",
                expected="at least one matched latent with a code difference",
                fix="use more transfer text, or lower match.r_min",
            )
        rows.append(_row((target, donor), recipe, study.codes(harvest).density("donor", donor)))
    return RecipeSet(tuple(rows))


def _row(pair: LayerPair, recipe: Recipe, density: list[float]) -> LayerRecipe:
    atoms = tuple(
        FittedAtom(
            latent,
            float(recipe.coefficients[i]),
            float(recipe.low[i]),
            float(recipe.high[i]),
            float(recipe.selection_frequency[i]),
            bool(recipe.unstable[i]),
            density[latent],
        )
        for i, latent in enumerate(recipe.feature_ids.tolist())
    )
    return LayerRecipe(*pair, recipe.eligible_mass, recipe.donor_cosine, recipe.n_eligible, atoms)


FIT = Stage(
    "fit",
    RecipeSet,
    fit,
    needs=(Harvest, DonorDirection, MatchSet, Alignment),
    sources=("donor.saes",),
    config=("fit",),
)
