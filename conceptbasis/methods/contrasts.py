"""Any contrast of the donor's, such as a benign concept, sent through a route of the transfer."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.errors import CoverageError
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.models.stream.native import end_activations
from conceptbasis.results.layers import LayerPair
from conceptbasis.study.codes import mask
from conceptbasis.study.recipes import make_recipe
from conceptbasis.study.study import Study


def transfer_contrast(
    study: Study,
    rebuilder: Rebuilder,
    route: str,
    pairs: Sequence[LayerPair],
    positive: Sequence[str],
    negative: Sequence[str],
    *stream: str | int,
) -> dict[int, Float[Tensor, " d_target"]]:
    """Unit directions by target layer; layers without a match are left out.

    Args:
        study: The study.
        rebuilder: The way into the target.
        route: One of its routes.
        pairs: Target and donor layers.
        positive: Donor prompts with the concept.
        negative: Donor prompts without it.
        stream: Name of the random stream; each target layer adds its own number.

    Raises:
        CoverageError: if no layer has a matched latent that differs.
    """
    a = end_activations(study.donor.loaded, list(positive))[-1]
    b = end_activations(study.donor.loaded, list(negative))[-1]
    directions = {}
    for target, donor in pairs:
        eligible = rebuilder.matches[(target, donor)].eligible_donor
        unit = difference_of_means(a[donor], b[donor]).unit
        recipe = make_recipe(
            study,
            mask(eligible, study.donor.sae(donor).d_sae),
            donor,
            a[donor],
            b[donor],
            unit,
            generator=study.generator(*stream, target),
            n_resamples=10,
        )
        if len(recipe.feature_ids):
            choice = rebuilder.rebuild(route, (target, donor), recipe, unit)
            directions[target] = choice.rebuilt.direction
    if not directions:
        raise CoverageError(
            "no matched latent differs between the two sets of prompts",
            expected="at least one at some layer",
            fix="use prompts whose difference the SAEs' latents see",
        )
    return directions
