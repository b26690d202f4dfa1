"""Residuals stored in half precision: what it does to the matches and to the transfer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.core.features.matching import Matches
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.layers import LayerPair
from conceptbasis.results.matching import MatchSet
from conceptbasis.results.recipe import Transfer
from conceptbasis.runs.graph import Graph
from conceptbasis.runs.progress import Reporter
from conceptbasis.stages import STAGES
from conceptbasis.study.ledger import Ledger
from conceptbasis.study.opening import load_prompts, open_side
from conceptbasis.study.recipes import matches_by_pair
from conceptbasis.study.study import Side, Study

_QUIET = Reporter(quiet=True)

_Found = tuple[float, dict[LayerPair, Matches], Transfer]
"""Megabytes of residuals, matches by layer pair, and the rebuilt directions."""


def storage(donor: str, target: str) -> dict[str, Any]:
    """Harvest, matches and rebuilt directions of a pair of organisms in each storage.

    Args:
        donor: Family of the donor, seed 0.
        target: Family of the target, seed 0.
    """
    sides = [_open(donor), _open(target)]
    found: dict[str, _Found] = {}
    with tempfile.TemporaryDirectory() as name:
        for dtype in ("float32", "float16", "bfloat16"):
            found[dtype] = _run(Path(name) / dtype, *sides, dtype)
    exact = found["float32"]
    return {
        "megabytes": exact[0],
        "n_features": sum(len(m.eligible_donor) for m in exact[1].values()),
        **{name: _compare(exact, found[name]) for name in ("float16", "bfloat16")},
    }


def _open(family: str) -> Side:
    config = ModelConfig(name=f"{family}-0-B0d", model=f"organism:{family}:0")
    run = RunConfig()
    return open_side(config, run, load_prompts(run), _QUIET)


def _run(folder: Path, donor: Side, target: Side, dtype: str) -> _Found:
    config = RunConfig.model_validate({"harvest": {"storage": dtype}, "n_workers": 1})
    suite, ledger = load_prompts(config), Ledger(config.budget)
    study, graph = (
        Study(folder, config, donor, target, suite, ledger, _QUIET),
        Graph(folder, STAGES),
    )
    for stage in STAGES:
        graph.run(stage, study)
        if stage.result is Transfer:
            break
    size = sum(file.bytes for file in graph.get(Harvest).files.values()) / 2**20
    return size, matches_by_pair(graph.get(MatchSet)), graph.get(Transfer)


def _compare(exact: _Found, narrow: _Found) -> dict[str, Any]:
    """Best matches that stay, eligible latents that stay, changes of r, cosines of directions."""
    best, both, either, r = 0, 0, 0, 0.0
    for pair, matches in exact[1].items():
        other = narrow[1][pair]
        mine, theirs = (set(m.eligible_donor.tolist()) for m in (matches, other))
        either += len(mine | theirs)
        for latent in mine & theirs:
            both += 1
            best += matches.best_target(latent) == other.best_target(latent)
            r = max(r, abs(_best_r(matches, latent) - _best_r(other, latent)))
    ours, theirs_by_layer = exact[2].by_layer(), narrow[2].by_layer(exact[2].route)
    cosines = [float(torch.dot(r, theirs_by_layer[layer])) for layer, r in ours.items()]
    return {
        "megabytes": narrow[0],
        "eligible_in_both": both / either,
        "same_best": best / both,
        "largest_change_of_r": r,
        "least_cosine": min(cosines),
    }


def _best_r(matches: Matches, latent: int) -> float:
    place = matches.best_pair(latent)
    assert place is not None
    return float(matches.r_heldout[place])
