"""Residuals stored in half precision: what it does to the matches and to the transfer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from conceptbasis.runs.ledger import Ledger
from conceptbasis.study.harvest import run_harvest
from conceptbasis.study.site_weights import SiteWeights

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.core.features.matching import Matches
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.stage import Run
from conceptbasis.stages.align import run_align
from conceptbasis.stages.direction import run_direction
from conceptbasis.stages.fit import run_fit
from conceptbasis.stages.match import MatchSet, run_match
from conceptbasis.stages.transfer import Transfer, run_transfer
from conceptbasis.study.opening import load_prompts, open_side
from conceptbasis.study.study import Codes, Side, Study

_QUIET = Reporter(quiet=True)


def storage(donor: str, target: str) -> dict[str, Any]:
    """Harvest, matches and rebuilt directions of a pair of organisms in each storage.

    Args:
        donor: Family of the donor, seed 0.
        target: Family of the target, seed 0.
    """
    sides = [_open(donor), _open(target)]
    found: dict[str, tuple[float, MatchSet, Transfer]] = {}
    with tempfile.TemporaryDirectory() as name:
        for dtype in ("float32", "float16", "bfloat16"):
            found[dtype] = _run(Path(name) / dtype, *sides, dtype)
    exact = found["float32"]
    return {
        "megabytes": exact[0],
        "n_features": sum(len(m.eligible_donor) for m in exact[1].pairs.values()),
        **{name: _compare(exact, found[name]) for name in ("float16", "bfloat16")},
    }


def _open(family: str) -> Side:
    config = ModelConfig(name=f"{family}-0-B0d", model=f"organism:{family}:0")
    run = RunConfig()
    return open_side(config, run, load_prompts(run), _QUIET)


def _run(folder: Path, donor: Side, target: Side, dtype: str) -> tuple[float, MatchSet, Transfer]:
    config = RunConfig.model_validate({"harvest": {"storage": dtype}, "n_workers": 1})
    suite, ledger = load_prompts(config), Ledger(config.budget)
    study = Study(Run(folder, lambda line: None), config, donor, target, suite, ledger, _QUIET)
    harvest = run_harvest(
        study.run,
        config,
        {"donor": donor.loaded, "target": target.loaded},
        {"donor": donor.model_hash, "target": target.model_hash},
        suite,
        ledger,
        _QUIET,
    )
    codes, direction = Codes(study, harvest), run_direction(study)
    weigh = SiteWeights(harvest, direction)
    matches = run_match(study, harvest, codes, weigh)
    alignment = run_align(study, harvest, codes, matches, direction)
    recipes = run_fit(study, codes, matches, direction, alignment)
    rebuilder = Rebuilder(study, harvest, codes, matches, weigh)
    transfer = run_transfer(study, rebuilder, recipes, direction, alignment)
    size = sum(entry["bytes"] for entry in harvest.result["files"].values()) / 2**20
    return size, matches, transfer


def _compare(
    exact: tuple[float, MatchSet, Transfer], narrow: tuple[float, MatchSet, Transfer]
) -> dict[str, Any]:
    """Best matches that stay, eligible features that stay, changes of r, cosines of directions."""
    best, both, either, r = 0, 0, 0, 0.0
    for pair, matches in exact[1].pairs.items():
        other = narrow[1].pairs[pair]
        mine, theirs = (set(m.eligible_donor.tolist()) for m in (matches, other))
        either += len(mine | theirs)
        for feature in mine & theirs:
            both += 1
            best += matches.best_target(feature) == other.best_target(feature)
            r = max(r, abs(_best_r(matches, feature) - _best_r(other, feature)))
    ours, theirs = exact[2], narrow[2]
    layers = [(ours.layers.index(i), theirs.layers.index(i)) for i in ours.layers]
    cosines = [
        float(torch.dot(ours.directions[ours.basis][a], theirs.directions[ours.basis][b]))
        for a, b in layers
    ]
    return {
        "megabytes": narrow[0],
        "eligible_in_both": both / either,
        "same_best": best / both,
        "largest_change_of_r": r,
        "least_cosine": min(cosines),
    }


def _best_r(matches: Matches, feature: int) -> float:
    place = matches.best_pair(feature)
    assert place is not None
    return float(matches.r_heldout[place])
