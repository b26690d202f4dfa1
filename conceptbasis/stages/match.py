"""Stage `match`: which donor latents are tied to which target latents, by layer pair.

Only pairs at a like relative depth are matched: no others can enter the layer map. The ends of
prompts hold a share of the weight, since the direction is read there and they are few.
"""

from __future__ import annotations

from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import LayerMatches, MatchSet
from conceptbasis.runs.executor import run_all
from conceptbasis.runs.graph import Stage
from conceptbasis.study.matching import (
    match_pair,
    nearby_pairs,
    require_alive,
    warn_of_few_shifts,
)
from conceptbasis.study.study import Study


def match(study: Study, harvest: Harvest, direction: DonorDirection) -> MatchSet:
    """Matches the latents of every nearby layer pair.

    Raises:
        SaeError: if an SAE is mostly dead on the shared text, or no layers are at a like depth.
    """
    pairs = nearby_pairs(study)
    for side in ("donor", "target"):
        require_alive(study, harvest, side)
    warn_of_few_shifts((study, harvest, direction))
    _ = study.weights(harvest, direction).shares  # once, before workers start
    rows: dict[int, LayerMatches] = {}
    with study.reporter.bar("match") as advance:
        workers, device = study.config.n_workers, study.config.device
        given = (study, harvest, direction)
        for i, row in run_all(match_pair, given, pairs, workers=workers, device=device):
            rows[i] = row
            advance(len(rows), len(pairs), "")
    return MatchSet(tuple(rows[i] for i in range(len(pairs))))


MATCH = Stage(
    "match",
    MatchSet,
    match,
    needs=(Harvest, DonorDirection),
    sources=("donor.saes", "target.saes"),
    config=("match", "align.max_depth_gap"),
)
