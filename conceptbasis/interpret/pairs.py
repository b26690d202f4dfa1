"""Atoms of the recipe with their matches: guard, shared words, and what leaving one out does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from conceptbasis.core.directions.guard import overlap_curve
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.errors import NumericsError
from conceptbasis.interpret.evidence import View, find_evidence
from conceptbasis.interpret.labels import shared_words
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.atoms import Ambiguity, AtomPair, LayerAtoms, LeaveOneOut
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.results.recipe import LayerRecipe, LayerTransfer
from conceptbasis.study.recipes import recipe_of
from conceptbasis.study.study import Study


def layer_atoms(
    study: Study,
    harvest: Harvest,
    views: Mapping[SideName, View],
    row: LayerTransfer,
    guarded: Guarded,
    left_out: Mapping[int, LeaveOneOut],
    ambiguous: Mapping[int, Ambiguity],
) -> LayerAtoms:
    """Evidence of one layer: latents of both sides, and the pairs of the recipe.

    Args:
        study: The study.
        harvest: The shared sites.
        views: What each model has read.
        row: The transferred recipe.
        guarded: The guard that was tried.
        left_out: By donor latent, what leaving it out changes.
        ambiguous: By donor latent, how its match stands beside the next best.
    """
    matched = [atom.target_latent for atom in row.donor_atoms]
    donor = [atom.latent for atom in row.donor_atoms]
    next_best = [found.runner_up for found in ambiguous.values()]
    target = [m for m in (*matched, *next_best) if m is not None]
    target += [atom.latent for atom in row.target_atoms]
    own = find_evidence(study, harvest, "donor", row.donor, donor, views["donor"])
    unique = list(dict.fromkeys(target))
    other = find_evidence(study, harvest, "target", row.target, unique, views["target"])
    words = {found.evidence.latent: found.shared_words for found in other}
    pairs = tuple(
        AtomPair(
            atom.latent,
            atom.target_latent,
            guard_overlap(study, guarded, row.target, atom.target_latent),
            shared_words(
                found.shared_words,
                () if atom.target_latent is None else words[atom.target_latent],
            ),
            left_out.get(atom.latent),
            ambiguous.get(atom.latent),
        )
        for atom, found in zip(row.donor_atoms, own, strict=True)
    )
    evidence = (tuple(found.evidence for found in side) for side in (own, other))
    return LayerAtoms(row.target, row.donor, pairs, *evidence)


def guard_overlap(study: Study, guarded: Guarded, layer: int, latent: int | None) -> float | None:
    """Energy of a matched latent's row in the largest guard that was tried.

    None without a match, and at a layer that is not edited.
    """
    places = [row.target for row in guarded.layers]
    if latent is None or layer not in places:
        return None
    W_dec = study.target.sae(layer).W_dec
    return float(overlap_curve(W_dec[latent], guarded.basis[places.index(layer)])[-1])


def leave_out(
    rebuilder: Rebuilder, route: str, row: LayerRecipe, direction: DonorDirection
) -> dict[int, LeaveOneOut]:
    """Rebuilds a layer without each of its largest atoms and says what that changes.

    Args:
        rebuilder: The way into the target.
        route: The route of the transfer.
        row: The recipe.
        direction: The donor's own directions.
    """
    recipe, pair, r = recipe_of(row), (row.target, row.donor), direction.per_layer[row.donor]
    n = min(rebuilder.study.config.atoms.n_leave_out, len(recipe.feature_ids))
    if n == 0 or len(recipe.feature_ids) < 2:
        return {}
    whole = rebuilder.rebuild(route, pair, recipe, r)
    found = {}
    for i in recipe.coefficients.abs().topk(n).indices.tolist():
        try:
            left = rebuilder.rebuild(route, pair, _without(recipe, i), r)
        except NumericsError:
            continue  # nothing is left of the direction, so there is no figure
        found[int(recipe.feature_ids[i])] = LeaveOneOut(
            float(left.rebuilt.direction @ whole.rebuilt.direction),
            left.agreement - whole.agreement,
        )
    return found


def _without(recipe: Recipe, place: int) -> Recipe:
    kept = torch.arange(len(recipe.feature_ids)) != place
    names = ("feature_ids", "coefficients", "low", "high", "selection_frequency")
    return replace(recipe, **{name: getattr(recipe, name)[kept] for name in names})
