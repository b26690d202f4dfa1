"""The reference method: contrast atoms of named concepts, a ridge, and a guard of its own.

Its layer map is that of the concept fingerprints (time warping), not ours. Replay in its own form
edits the attention output only, with γ = 2; the guard is chosen under that edit, or under ablation
of the stream where a norm after the writers forbids it. The directions are also replayed in the
stream, which every target allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from conceptbasis.errors import NumericsError
from conceptbasis.methods.base import Fitted, LeftOut, Method, Moved

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge
    from conceptbasis.results.layers import LayerPair
    from conceptbasis.results.matching import Alignment

_WEIGHTS: dict[str, str | float] = {
    "mode": "orthogonalise",
    "scope": "writers",
    "gamma": 2.0,
    "which": "attention",
}
_STREAM: dict[str, str | float] = {"mode": "ablate"}

_SOURCE = "Cristofano 2026 (2601.16034)"


def contrast(bridge: Bridge) -> Fitted:
    """Moves the donor's directions over concept atoms and keeps them out of guarded ones.

    Raises:
        LeftOut: with too few concepts, without a pair of layers, or where no recipe exists.
    """
    return bridge.once(_contrast)


def _contrast(bridge: Bridge) -> Fitted:
    alignment = bridge.alignment
    if not alignment.concept_directions:
        raise LeftOut("fewer than three concepts are allowed")
    sites = bridge.sites
    pairs = [
        (target, donor)
        for target, donor in warped_pairs(alignment)
        if target in sites.layers("target") and donor in sites.layers("donor")
    ]
    if not pairs:
        raise LeftOut("no pair of the path has SAEs on both sides")
    try:
        moved = [_move(bridge, pair) for pair in pairs]
    except NumericsError as error:
        raise LeftOut(error.what) from error
    return _guarded(bridge, moved)


def warped_pairs(alignment: Alignment) -> list[LayerPair]:
    """Each target layer with the donor layer of the path whose fingerprint is nearest.

    The path may pair a target layer with several donor layers. It knows no donor window: the
    reference method replays the directions of all layers.

    Args:
        alignment: Gives path and distances.
    """
    distance = alignment.fingerprint_distance or ()
    nearest: dict[int, int] = {}
    for target, donor in alignment.fingerprint_path or ():
        row = [value if value is not None else float("inf") for value in distance[target]]
        if target not in nearest or row[donor] < row[nearest[target]]:
            nearest[target] = donor
    return sorted(nearest.items())


def _move(bridge: Bridge, pair: LayerPair) -> Moved:
    """The direction at the ridge of best agreement, with the coefficient of each concept."""
    from conceptbasis.core.directions.mappers import fit_contrast_recipe, rebuild_contrast

    target, donor = pair
    atoms = bridge.alignment.concept_directions
    r, donor_atoms, target_atoms = (
        bridge.direction.per_layer[donor],
        atoms["donor"][donor],
        atoms["target"][target],
    )
    choice = bridge.rebuilder.choose(
        pair,
        r,
        lambda ridge: rebuild_contrast(
            fit_contrast_recipe(r, donor_atoms, strength=ridge), target_atoms
        ),
    )
    assert choice.ridge is not None
    written = fit_contrast_recipe(r, donor_atoms, strength=choice.ridge).tolist()
    details = dict(zip(bridge.alignment.concepts, written, strict=True))
    return replace(Moved.of(pair, choice), details=details)


def _guarded(bridge: Bridge, moved: Sequence[Moved]) -> Fitted:
    form = _STREAM if bridge.weight_obstacle else _WEIGHTS
    by_layer = {m.pair[0]: m.direction for m in moved}
    found = bridge.choose_guard(by_layer, form)
    guard = {"share": found.share, "k": found.k, "within": found.within, "under": form["mode"]}
    return Fitted(
        [replace(m, direction=r) for m, r in zip(moved, found.directions, strict=True)],
        {"concepts": list(bridge.alignment.concepts), "guard": guard},
    )


CONTRAST_RIDGE = Method(
    "contrast_ridge",
    "baseline",
    "ridge map of contrast directions",
    fit=contrast,
    form=_WEIGHTS,
    at_equal_damage=True,
    source=_SOURCE,
)

CONTRAST_RIDGE_STREAM = Method(
    "contrast_ridge_stream",
    "baseline",
    "the same, edited in the residual stream",
    fit=contrast,
    form={},
    at_equal_damage=True,
    source=_SOURCE,
)
