"""Stage `transfer`: recipes rebuilt in the target by every route, without any target label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from conceptbasis.core.features.matches import Matches
from conceptbasis.edits.plan import NEARLY, PLAN_KEYS, plan_layers, surest_layer
from conceptbasis.methods.rebuilder import ROUTES, Choice, Rebuilder
from conceptbasis.methods.routes import CODE_MAP, TRANSPORTED
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import (
    DonorAtom,
    LayerRecipe,
    LayerTransfer,
    RecipeSet,
    TargetAtom,
    Transfer,
)
from conceptbasis.runs.graph import Stage
from conceptbasis.study.recipes import recipe_of
from conceptbasis.study.study import Study

Choices = Mapping[str, Choice]
"""What each route gave at one layer."""


def transfer(
    study: Study,
    harvest: Harvest,
    direction: DonorDirection,
    matches: MatchSet,
    alignment: Alignment,
    recipes: RecipeSet,
) -> Transfer:
    """Rebuilds every recipe by every route, then picks the route and the plan of layers."""
    rebuilder = Rebuilder.of(study, harvest, direction, matches)
    found: list[Choices] = []
    with study.reporter.bar("transfer") as advance:
        for row in recipes.layers:
            pair, r = (row.target, row.donor), direction.per_layer[row.donor]
            recipe = recipe_of(row)
            found.append({name: rebuilder.rebuild(name, pair, recipe, r) for name in ROUTES})
            advance(len(found), len(recipes.layers), "")
    route = choose_route(study, [row.target for row in recipes.layers], found)
    rows = [_row(rebuilder, row, c, route) for row, c in zip(recipes.layers, found, strict=True)]
    selections = {row.target: row.selection_by_route[route] for row in rows}
    return Transfer(
        route,
        plan_layers(selections, study.config.replay, study.target.n_layers),
        rebuilder.weigh.shares,
        tuple(rows),
        {name: torch.stack([f[name].rebuilt.direction for f in found]) for name in ROUTES},
        torch.stack([f[route].rebuilt.steering for f in found]),
    )


def choose_route(study: Study, layers: Sequence[int], found: Sequence[Choices]) -> str:
    """The route of `transfer.route`; under `auto` the first readable one that loses nothing.

    `code_map` names latents on both sides. Where the target's codes hold too little of what the
    donor's say, its agreement falls below that of `transported`, which goes to residuals directly.

    Args:
        study: Says what is wanted.
        layers: Target layers.
        found: What each route gave at each of them.
    """
    wanted = study.config.transfer.route
    if wanted != "auto":
        return wanted
    n_layers, fraction = study.target.n_layers, study.config.replay.early_fraction
    best, (readable, direct) = {}, (CODE_MAP.name, TRANSPORTED.name)
    for route in (readable, direct):
        selections = {n: choices[route].selection for n, choices in zip(layers, found, strict=True)}
        best[route] = selections[surest_layer(selections, fraction, n_layers)]
    loses = best[readable] < best[direct] - NEARLY * abs(best[direct])
    return direct if loses else readable


def _row(rebuilder: Rebuilder, recipe: LayerRecipe, choices: Choices, route: str) -> LayerTransfer:
    chosen, pair = choices[route], (recipe.target, recipe.donor)
    matches = rebuilder.matches[pair]
    density = rebuilder.codes.density("target", recipe.target)
    written = chosen.rebuilt.target_ids.tolist(), chosen.rebuilt.target_coefficients.tolist()
    return LayerTransfer(
        *pair,
        chosen.ridge,
        chosen.agreement,
        {name: c.agreement for name, c in choices.items()},
        {name: c.selection for name, c in choices.items()},
        {str(ridge): agreement for ridge, agreement in chosen.by_ridge.items()},
        tuple(_donor_atom(atom.latent, atom.coefficient, matches) for atom in recipe.atoms),
        tuple(TargetAtom(i, float(c), density[i]) for i, c in zip(*written, strict=True)),
    )


def _donor_atom(latent: int, coefficient: float, matches: Matches) -> DonorAtom:
    best = matches.best_target(latent)
    row = ((matches.donor_ids == latent) & (matches.target_ids == best)).nonzero()[0, 0]
    null = float(matches.null_quantile[row])
    return DonorAtom(latent, coefficient, best, float(matches.r_heldout[row]), null)


TRANSFER = Stage(
    "transfer",
    Transfer,
    transfer,
    needs=(Harvest, DonorDirection, MatchSet, Alignment, RecipeSet),
    sources=("donor.saes", "target.saes"),
    config=(
        "transfer",
        "match.end_of_prompt_share",
        *(f"replay.{key}" for key in PLAN_KEYS),
    ),
)
