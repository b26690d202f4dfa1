"""Keeps directions out of the target's high-variance weight subspaces.

The share of d_model that is kept out is the smallest one that holds the rise of benign perplexity
within its bound; it is 0 when the bound already holds without a guard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.budgets import benign_classes, find_class
from conceptbasis.core.directions.guard import apply_guard, guard_basis
from conceptbasis.data.prompts import Text
from conceptbasis.errors import NumericsError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.weights import writer_matrices
from conceptbasis.models.text.generation import text_nll
from conceptbasis.results.edit import Guarded
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

MAX_TEXTS = 128


def keep_out(
    guarded: Guarded, directions: Float[Tensor, "n_some d_target"], layers: Sequence[int]
) -> Float[Tensor, "n_some d_target"]:
    """Other directions under the guard that was chosen for the transfer.

    Args:
        guarded: What stage `guard` left.
        directions: Unit directions, one row per layer.
        layers: Some of the edited layers.
    """
    if not guarded.k:
        return directions
    place = {row.target: i for i, row in enumerate(guarded.layers)}
    return _guarded(directions, [guarded.basis[place[layer]] for layer in layers], guarded.k)


def benign_texts(sites: Sites, split: str) -> list[Text]:
    """Texts of a split that every budget allows, for perplexity.

    The guard chooses on `select`; the evaluation measures on `report`.
    """
    texts = sites.split_texts(split)
    allowed = [c for c in benign_classes() if find_class(c).needs == "B0"]
    return [t for t in texts if t.text_class in allowed][:MAX_TEXTS]


def perplexity(loaded: LoadedModel, texts: list[Text]) -> float:
    """exp of the mean negative log-likelihood per token.

    Raises:
        NumericsError: if it is not finite.
    """
    nll, tokens = text_nll(loaded, [t.as_messages() for t in texts], batch_size=128)
    value = math.exp(min(700.0, float(nll.sum() / tokens.sum())))
    if not math.isfinite(value):
        raise NumericsError(
            f"the perplexity of {loaded.name} is {value}",
            expected="a finite number",
            fix="reduce the strength of the intervention",
        )
    return value


@dataclass(frozen=True)
class GuardChoice:
    """The smallest share of d_model that keeps benign perplexity within its bound, or a forced one.

    Args:
        share: The share, 0 where none is needed or none is enough.
        k: Directions that are kept out.
        within: Whether the bound holds.
        baseline: Benign perplexity of the untouched target.
        by_share: Benign perplexity under each share that was tried.
        directions: The guarded unit directions.
        bases: Guard directions of each layer, strongest first.
    """

    share: float
    k: int
    within: bool
    baseline: float
    by_share: Mapping[float, float]
    directions: Float[Tensor, "n_edited d_target"]
    bases: Sequence[Float[Tensor, "d_target k_max"]]


Under = Callable[[Float[Tensor, "n_edited d_target"]], AbstractContextManager[Any]]
"""Puts the target under the edit of some directions."""


def choose_guard(
    study: Study, sites: Sites, layers: Sequence[int], directions: Tensor, under: Under
) -> GuardChoice:
    """Tries shares from the smallest until the edited target's perplexity is within its bound.

    Args:
        study: Gives the target and the shares.
        sites: Gives the benign texts.
        layers: Edited layers.
        directions: Their unit directions.
        under: The edit.
    """
    section, loaded = study.config.guard, study.target.loaded
    d_model = loaded.architecture.d_model
    shares = sorted(section.shares) if section.forced is None else [section.forced]
    k_max = max(1, round(max(*section.shares, *shares) * d_model))
    bases = [
        guard_basis(
            writer_matrices(loaded, layer), k=k_max, generator=study.generator("guard", layer)
        )
        for layer in layers
    ]
    texts = benign_texts(sites, "select")
    baseline = perplexity(loaded, texts)
    by_share: dict[float, float] = {}
    chosen, within = 0.0, False
    with study.reporter.bar("guard") as advance:
        for done, share in enumerate(shares, 1):
            with under(_guarded(directions, bases, round(share * d_model))):
                by_share[share] = perplexity(loaded, texts)
            advance(done, len(shares), f"share {share:g}")
            within = by_share[share] <= baseline * (1 + section.max_perplexity_rise)
            if within or share == section.forced:
                chosen = share
                break
    k = round(chosen * d_model)
    return GuardChoice(chosen, k, within, baseline, by_share, _guarded(directions, bases, k), bases)


def _guarded(directions: Tensor, bases: Sequence[Tensor], k: int) -> Tensor:
    return torch.stack(
        [apply_guard(r, u, k=k).direction for r, u in zip(directions, bases, strict=True)]
    )


def describe(found: GuardChoice) -> str:
    """One line for the reader of a run."""
    rise = found.by_share[found.share] / found.baseline - 1
    if found.within or found.share > 0:  # a forced guard is used whatever it costs
        return f"guard: k = {found.k}, benign perplexity {rise:+.2%}"
    return (
        f"guard: no tried share holds the perplexity bound; none is used (rise {rise:+.2%}, "
        f"tried {', '.join(f'{s:g}' for s in found.by_share)})"
    )
