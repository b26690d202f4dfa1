"""Any contrast of the donor, sent through the transfer: for proxies and unrelated controls."""

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

_RESAMPLES = 10
"""Intervals of these recipes are not read, so they need few draws."""


def transfer_contrast(
    rebuilder: Rebuilder,
    route: str,
    pairs: Sequence[LayerPair],
    positive: Sequence[str],
    negative: Sequence[str],
    stream: tuple[str | int, ...],
) -> dict[int, Float[Tensor, " d_target"]]:
    """Unit directions of the target by layer; layers without a match are left out.

    Args:
        rebuilder: The way into the target.
        route: The route of the transfer.
        pairs: Layer pairs, target first.
        positive: Donor prompts that carry the concept.
        negative: Donor prompts that do not.
        stream: Name of the random stream; the target layer is added to it.

    Raises:
        CoverageError: if no layer has a matched latent that differs.
    """
    study = rebuilder.study
    shown = end_activations(study.donor.loaded, list(positive))[-1]
    absent = end_activations(study.donor.loaded, list(negative))[-1]
    directions = {}
    for target, donor in pairs:
        matches = rebuilder.matches[target, donor]
        eligible = mask(matches.eligible_donor, study.donor.sae(donor).d_sae)
        unit = difference_of_means(shown[donor], absent[donor]).unit
        recipe = make_recipe(
            study,
            eligible,
            donor,
            shown[donor],
            absent[donor],
            unit,
            generator=study.generator(*stream, target),
            n_resamples=_RESAMPLES,
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
