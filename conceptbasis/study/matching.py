"""Matching of latents: which pairs of layers, whether SAEs are alive, and one pair's matches."""

from __future__ import annotations

import numpy as np

from conceptbasis.core.features.matches import Matches
from conceptbasis.core.features.matching import eligible_pairs, shift_null
from conceptbasis.core.features.significance import least_found, least_p, shifts_needed
from conceptbasis.core.layers.alignment import depth_gaps
from conceptbasis.errors import SaeError
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.results.layers import LayerPair
from conceptbasis.results.matching import LayerMatches
from conceptbasis.study.codes import code_pair
from conceptbasis.study.study import Study

Given = tuple[Study, Harvest, DonorDirection]


def nearby_pairs(study: Study) -> list[LayerPair]:
    """Pairs of layers with SAEs whose relative depths differ by `align.max_depth_gap` at most.

    Similarities of neighbouring layers differ by less than their noise, so that without the bound
    the layer map runs into one corner.
    """
    bound = study.config.align.max_depth_gap
    near = depth_gaps(study.target.n_layers, study.donor.n_layers) <= bound
    targets, donors = study.target.layers, study.donor.layers
    pairs = [(t, d) for t in targets for d in donors if near[t, d]]
    if not pairs:
        raise SaeError(
            f"SAEs at layers {list(donors)} of the donor and {list(targets)} of the target",
            expected=f"layers whose relative depths differ by {bound:g} at most",
            fix="name layers at a like depth (key layers), or raise align.max_depth_gap",
        )
    return pairs


def match_pair(given: Given, pair: LayerPair) -> LayerMatches:
    """Matches of one layer pair, above a shifted null on held-out sites."""
    study, harvest, direction = given
    section, device = study.config.match, study.config.device
    weigh, codes = study.weights(harvest, direction), study.codes(harvest)
    fit, select = (
        code_pair(codes, weigh, pair, split, section.end_of_prompt_share)
        for split in ("fit", "select")
    )
    null = shift_null(
        select.donor,
        select.target,
        n_shifts=section.n_shifts or shifts_needed(_n_live(given, pair[1]), fdr=section.fdr),
        min_shift=max(1, select.n // 20),
        generator=study.generator("match", *pair),
        weights=select.weights,
        device=device,
    )
    found = eligible_pairs(
        [fit],
        [select],
        null,
        k=section.top_k,
        r_min=section.r_min,
        fdr=section.fdr,
        min_density=section.min_density,
        device=device,
    )
    return _row(pair, found.assigned() if section.one_to_one else found)


def _n_live(given: Given, layer: int) -> int:
    """Donor latents of a layer that fire often enough on fit sites to be matched."""
    study, harvest, _ = given
    z = study.codes(harvest).split("donor", layer, "fit")
    fires = np.bincount(z.indices, z.data != 0, minlength=z.shape[1])
    return int((fires / z.shape[0] >= study.config.match.min_density).sum())


def warn_of_few_shifts(given: Given) -> None:
    """Says in one line that the given number of shifts finds nothing unless most latents match."""
    study, section = given[0], given[0].config.match
    if section.n_shifts is None:
        return
    n_live = min(_n_live(given, layer) for layer in study.donor.layers)
    needed = shifts_needed(n_live, fdr=section.fdr)
    if section.n_shifts >= needed:
        return
    least = least_found(section.n_shifts, n_live, fdr=section.fdr)
    study.reporter.say(
        f"match: with {section.n_shifts} shifts over {n_live} live latents no p is below "
        f"{least_p(section.n_shifts, n_live):.2g}, so that "
        + (f"fewer than {least} matches count as none" if least <= n_live else "no match can count")
        + f"; leave match.n_shifts out, or set it to {needed} or more"
    )


def _row(pair: LayerPair, found: Matches) -> LayerMatches:
    n = len(found.donor_ids)
    return LayerMatches(
        *pair,
        found.donor_ids,
        found.target_ids,
        found.r_fit,
        found.r_heldout,
        found.null_quantile,
        found.p_value,
        n,
        len(found.eligible_donor),
        len(found.eligible_target),
        found.n_mutual_best,
        found.n_one_to_one,
        found.reasons,
        float(found.r_heldout.mean()) if n else None,
    )


def require_alive(study: Study, harvest: Harvest, side: SideName) -> None:
    bound = study.config.match.max_dead_share
    for layer in study.side(side).layers:
        z = study.codes(harvest)(side, layer)
        dead = 1 - len(np.unique(z.indices)) / z.shape[1]
        if dead > bound:
            raise SaeError(
                f"{dead:.0%} of the latents of the {side}'s SAE at layer {layer} never fire "
                "on the shared text",
                expected=f"at most {bound:.0%} dead (key match.max_dead_share)",
                fix="train it longer, with fewer latents, or on text like the transfer text",
            )
