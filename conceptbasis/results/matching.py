"""What stages `match` and `align` leave: matched latents by layer pair, and the layer map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conceptbasis.results.harvest import Shown, SideName
from conceptbasis.results.layers import LayerPair

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class LayerMatches:
    """Eligible pairs of latents of one layer pair, one row per pair, and their counts.

    Args:
        target: Target layer.
        donor: Donor layer.
        donor_ids: Donor latent of each pair.
        target_ids: Target latent of each pair.
        r_fit: Correlation on fit sites.
        r_heldout: Correlation on held-out sites.
        null_quantile: What shifted sites give.
        p_value: Against the shifted null.
        n_eligible_donor: Donor latents with at least one pair.
        n_eligible_target: Target latents with at least one pair.
        n_mutual_best: Pairs that are each other's best on fit sites.
        n_one_to_one: Size of the best one-to-one assignment.
        reasons: The other donor latents by the first test they failed.
        r_heldout_mean: Mean over pairs, None without pairs.
    """

    target: int
    donor: int
    donor_ids: Int[Tensor, " n_pairs"]
    target_ids: Int[Tensor, " n_pairs"]
    r_fit: Float[Tensor, " n_pairs"]
    r_heldout: Float[Tensor, " n_pairs"]
    null_quantile: Float[Tensor, " n_pairs"]
    p_value: Float[Tensor, " n_pairs"]
    n_pairs: int
    n_eligible_donor: int
    n_eligible_target: int
    n_mutual_best: int
    n_one_to_one: int
    reasons: Mapping[str, int]
    r_heldout_mean: float | None


@dataclass(frozen=True)
class MatchSet:
    """Matches of every layer pair at a like relative depth, by target and donor layer."""

    layers: tuple[LayerMatches, ...]


Matrix = tuple[tuple[float | None, ...], ...]
"""Rows are target layers, columns donor layers; None where a figure is undefined."""


@dataclass(frozen=True)
class Alignment:
    """The layer map, and what was measured for it.

    Args:
        score: SVCCA of matched codes.
        null: The same with shuffled sites, at the null's quantile.
        kept_dimensions: Dimensions that SVCCA kept, by side.
        decoder_score: SVCCA of matched decoder rows.
        cka: Linear CKA of the residuals.
        layer_map: Target layer, donor layer.
        map_score: Sum of score − null − depth penalty over the map.
        unedited: Target layers without a partner.
        concepts: Names of the concepts behind the fingerprints.
        fingerprint_distance: Distance of concept fingerprints; None with too few concepts.
        fingerprint_path: Path of dynamic time warping over them.
        concept_directions: Differences of means by side; empty with too few concepts.
        shown: Concept prompts that the target read.
    """

    score: Matrix
    null: Matrix
    kept_dimensions: Mapping[SideName, Matrix]
    decoder_score: Matrix
    cka: Matrix
    layer_map: tuple[LayerPair, ...]
    map_score: float | None
    unedited: tuple[int, ...]
    concepts: tuple[str, ...]
    fingerprint_distance: Matrix | None
    fingerprint_path: tuple[LayerPair, ...] | None
    concept_directions: Mapping[SideName, Float[Tensor, "n_layers n_concepts d_model"]]
    shown: tuple[Shown, ...]
