"""Stage `match`: which donor features are tied to which target features, by pair of layers.

Only pairs at a like relative depth are matched: no others can enter the layer map. The ends of
prompts hold a share of the weight, since the direction is read there and they are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conceptbasis.core.features.matching import Matches, eligible_pairs, shift_null
from conceptbasis.core.features.partners import CodePair
from conceptbasis.core.layers.alignment import depth_gaps
from conceptbasis.errors import SaeError
from conceptbasis.runs.executor import map_unordered
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.stage import StageOutput
from conceptbasis.study.harvest import Harvest
from conceptbasis.study.site_weights import SiteWeights
from conceptbasis.study.study import Codes, SideName, Study

LayerPair = tuple[int, int]
"""Target layer, donor layer."""

_FIELDS = ("donor_ids", "target_ids", "r_fit", "r_heldout", "null_quantile", "p_value")


@dataclass(frozen=True)
class MatchSet:
    """Matches of every pair of layers at a like depth."""

    pairs: Mapping[LayerPair, Matches]
    output: StageOutput


def code_pair(codes: Codes, weigh: SiteWeights, pair: LayerPair, split: str) -> CodePair:
    """Codes of a layer pair on one split, weighted as they match."""
    target, donor = pair
    return CodePair(
        codes.split("donor", donor, split),
        codes.split("target", target, split),
        weigh(split, codes.study.config.match.end_of_prompt_share),
    )


def run_match(study: Study, harvest: Harvest, codes: Codes, weigh: SiteWeights) -> MatchSet:
    """Runs or reuses the stage.

    Raises:
        SaeError: if an SAE is mostly dead on the shared text.
    """
    pairs = nearby_pairs(study)

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        for side in ("donor", "target"):
            _require_alive(study, codes, side)
        tensors: dict[str, Tensor] = {}
        rows = []
        with study.reporter.bar("match") as advance:
            measured = map_unordered(
                lambda pair: _match(codes, weigh, pair),
                pairs,
                n_workers=study.config.n_workers,
                device=study.config.device,
            )
            for done, (i, matches) in enumerate(measured, 1):
                tensors |= {f"{_name(pairs[i])}.{f}": getattr(matches, f) for f in _FIELDS}
                rows.append(_row(pairs[i], matches))
                advance(done, len(pairs), "")
        rows.sort(key=lambda row: (row["target"], row["donor"]))
        return tensors, {"layers": rows}

    output = study.run.stage(
        "match",
        config={
            **study.config.match.model_dump(),
            "max_depth_gap": study.config.align.max_depth_gap,
        },
        inputs={
            "harvest": harvest.hash,
            "class_shares": value_hash(weigh.shares),
            "donor_saes": study.donor.saes.hash,
            "target_saes": study.target.saes.hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    return MatchSet({pair: _load(output, pair) for pair in pairs}, output)


def nearby_pairs(study: Study) -> list[LayerPair]:
    """Pairs of layers with SAEs whose relative depths differ by `align.max_depth_gap` at most.

    Similarities of neighbouring layers differ by less than their noise, so that without the bound
    the layer map runs into one corner.

    Raises:
        SaeError: if there is no such pair.
    """
    bound = study.config.align.max_depth_gap
    near = depth_gaps(study.target.n_layers, study.donor.n_layers) <= bound
    targets, donors = (sorted(side.saes.saes) for side in (study.target, study.donor))
    pairs = [(t, d) for t in targets for d in donors if near[t, d]]
    if not pairs:
        raise SaeError(
            f"SAEs at layers {donors} of the donor and {targets} of the target",
            expected=f"layers whose relative depths differ by {bound:g} at most",
            fix="name layers at a like depth (key layers), or raise align.max_depth_gap",
        )
    return pairs


def _match(codes: Codes, weigh: SiteWeights, pair: LayerPair) -> Matches:
    section, device = codes.study.config.match, codes.study.config.device
    fit, select = (code_pair(codes, weigh, pair, split) for split in ("fit", "select"))
    null = shift_null(
        select.donor,
        select.target,
        n_shifts=section.n_shifts,
        min_shift=max(1, select.n // 20),
        generator=codes.study.generator(1000 * pair[0] + pair[1]),
        weights=select.weights,
        device=device,
    )
    matches = eligible_pairs(
        [fit],
        [select],
        null,
        k=section.top_k,
        r_min=section.r_min,
        fdr=section.fdr,
        min_density=section.min_density,
        device=device,
    )
    return matches.assigned() if section.one_to_one else matches


def _require_alive(study: Study, codes: Codes, side: SideName) -> None:
    bound = study.config.match.max_dead_share
    for layer in study.side(side).saes.saes:
        z = codes(side, layer)
        dead = 1 - len(np.unique(z.indices)) / z.shape[1]
        if dead > bound:
            raise SaeError(
                f"{dead:.0%} of the features of the {side}'s SAE at layer {layer} never fire "
                "on the shared text",
                expected=f"at most {bound:.0%} dead (key match.max_dead_share)",
                fix="train it longer, with fewer features, or on text like the transfer text",
            )


def _name(pair: LayerPair) -> str:
    return f"{pair[0]:02d}_{pair[1]:02d}"


def _row(pair: LayerPair, matches: Matches) -> dict[str, Any]:
    n = len(matches.donor_ids)
    return {
        "target": pair[0],
        "donor": pair[1],
        "n_pairs": n,
        "n_eligible_donor": len(matches.eligible_donor),
        "n_eligible_target": len(matches.eligible_target),
        "n_mutual_best": matches.n_mutual_best,
        "n_one_to_one": matches.n_one_to_one,
        "reasons": matches.reasons,
        "r_heldout_mean": float(matches.r_heldout.mean()) if n else None,
    }


def _load(output: StageOutput, pair: LayerPair) -> Matches:
    row = next(r for r in output.result["layers"] if (r["target"], r["donor"]) == pair)
    fields = {f: output.tensors[f"{_name(pair)}.{f}"] for f in _FIELDS}
    return Matches(
        **fields,
        reasons=row["reasons"],
        n_mutual_best=row["n_mutual_best"],
        n_one_to_one=row["n_one_to_one"],
    )


def mask(ids: Tensor, size: int) -> Tensor:
    """A boolean mask with True at the ids."""
    marked = torch.zeros(size, dtype=torch.bool)
    marked[ids] = True
    return marked
