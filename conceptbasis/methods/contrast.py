"""The reference method's directions: contrast atoms of named concepts, ridge, guard.

Its layer map is that of the concept fingerprints (time warping), not ours. Replay in its own form
edits the attention output only, with γ = 2; the guard is chosen under that edit, or under ablation
of the stream where a norm after the writers forbids it.

Source: Cristofano 2026 (2601.16034).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.directions.mappers import fit_contrast_recipe, rebuild_contrast
from conceptbasis.errors import NumericsError
from conceptbasis.methods.rebuilder import Choice, Rebuilder
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.weights import orthogonalise_weights
from conceptbasis.stages.align import Alignment, allowed_concepts
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.guard import choose_guard
from conceptbasis.stages.match import LayerPair
from conceptbasis.study.study import Study

CONTRAST: tuple[str, ...] = ("contrast_ridge", "contrast_ridge_stream")
"""Conditions with these directions: in the reference method's form, and as stream ablation."""

GAMMA = 2.0


@dataclass(frozen=True)
class Contrast:
    """Guarded unit directions by edited layer, and how they came about.

    Args:
        directions: None where they could not be made; `described` has the reason.
        described: As it stands in the artifacts: concepts with their number, guard, layers with
            the coefficient of each concept.
    """

    directions: Float[Tensor, "n_edited d_target"] | None
    described: dict[str, Any]


def guarded_contrast(
    study: Study, rebuilder: Rebuilder, direction: DonorDirection, alignment: Alignment
) -> Contrast:
    """Moves the donor's trajectory over concept atoms and keeps it out of the guarded directions.

    Args:
        study: The study; its budget decides which concepts count. The target has read their
            prompts in stage `align`, which entered them into the ledger.
        rebuilder: Chooses the ridge strength.
        direction: The donor's trajectory.
        alignment: Concept atoms of both models, and the path of time warping.
    """
    concepts = allowed_concepts(study)
    described: dict[str, Any] = {
        "n_concepts": len(concepts),
        "concepts": [{"name": c.name, "budget": c.budget} for c in concepts],
        "reason": None,
    }
    if "target.concepts" not in alignment.output.tensors:
        return Contrast(None, described | {"reason": "fewer than three concepts are allowed"})
    read = {side: rebuilder.harvest.layers(side) for side in ("donor", "target")}
    pairs = [
        (t, d) for t, d in warped_pairs(alignment) if t in read["target"] and d in read["donor"]
    ]
    if not pairs:
        return Contrast(None, described | {"reason": "no pair of the path has SAEs on both sides"})
    atoms = [alignment.output.tensors[f"{side}.concepts"] for side in ("donor", "target")]
    try:
        moved = [_move(rebuilder, direction, atoms, pair) for pair in pairs]
    except NumericsError as error:
        return Contrast(None, described | {"reason": error.what})
    layers = [target for target, _ in pairs]
    form, guarded = _guarded(study, rebuilder, layers, [m[0].rebuilt.direction for m in moved])
    described |= {
        "guard": {"share": guarded.share, "k": guarded.k, "within": guarded.within, "under": form},
        "layers": [
            {
                "target": target,
                "donor": donor,
                "strength": choice.strength,
                "selection": choice.selection,
                "agreement": choice.agreement,
                "coefficients": coefficients.tolist(),
            }
            for (target, donor), (choice, coefficients) in zip(pairs, moved, strict=True)
        ],
    }
    return Contrast(guarded.directions, described)


def warped_pairs(alignment: Alignment) -> list[LayerPair]:
    """Each target layer with the donor layer of the path whose fingerprint is nearest.

    The path may pair a target layer with several donor layers. It knows no donor window: the
    reference method replays the whole trajectory.

    Args:
        alignment: Gives path and distances.
    """
    result = alignment.output.result
    nearest: dict[int, int] = {}
    for target, donor in result["fingerprint_path"]:
        distance = result["fingerprint_distance"][target]
        if target not in nearest or distance[donor] < distance[nearest[target]]:
            nearest[target] = donor
    return sorted(nearest.items())


def _move(
    rebuilder: Rebuilder, direction: DonorDirection, atoms: list[Tensor], pair: LayerPair
) -> tuple[Choice, Tensor]:
    """The direction at the strength of best agreement, and the coefficients behind it."""
    target, donor = pair
    r, donor_atoms, target_atoms = direction.trajectory[donor], atoms[0][donor], atoms[1][target]

    def written(strength: float) -> Tensor:
        return fit_contrast_recipe(r, donor_atoms, strength=strength)

    choice = rebuilder.choose(pair, r, lambda s: rebuild_contrast(written(s), target_atoms))
    assert choice.strength is not None
    return choice, written(choice.strength)


def _guarded(
    study: Study, rebuilder: Rebuilder, layers: list[int], directions: list[Tensor]
) -> tuple[str, Any]:
    loaded = study.target.loaded
    weights = loaded.architecture.weight_obstacle() is None

    def under(safe: Tensor) -> AbstractContextManager[Any]:
        by_layer = dict(zip(layers, safe, strict=True))
        if weights:
            return orthogonalise_weights(loaded, by_layer, gamma=GAMMA, which="attention")
        return intervene(loaded, [Edit(layer, r) for layer, r in by_layer.items()])

    found = choose_guard(study, rebuilder.harvest, layers, torch.stack(directions), under)
    return "orthogonalise" if weights else "ablate", found
