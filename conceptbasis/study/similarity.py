"""How alike layers of two models are: SVCCA of matched codes above its null, CKA, fingerprints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptbasis.core.features.matches import Matches
from conceptbasis.core.layers.alignment import (
    LayerMap,
    depth_gaps,
    dynamic_time_warping,
    monotone_path,
)
from conceptbasis.core.layers.similarity import fingerprint, fingerprint_distance, linear_cka
from conceptbasis.core.layers.svcca import svcca, svcca_null
from conceptbasis.data.prompts import Concept
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.results.layers import LayerPair
from conceptbasis.results.matching import Matrix
from conceptbasis.study.concepts import concept_differences
from conceptbasis.study.recipes import code_differences, support
from conceptbasis.study.study import Study

MIN_LATENTS = 3
"""Fewer matched latents, or concepts, than this say nothing about a layer."""

FIGURES = ("score", "null", "k_donor", "k_target", "decoder_score", "cka")


@dataclass
class LayerScores:
    """Similarity of all matched pairs of layers.

    Args:
        study: Gives SAEs and settings.
        harvest: The shared sites.
        direction: Gives the recipe's support and the donor's window.
        matches: Matches by layer pair.
    """

    study: Study
    harvest: Harvest
    direction: DonorDirection
    matches: dict[LayerPair, Matches]

    def measure(self) -> tuple[dict[str, Tensor], LayerMap]:
        """Every figure as a matrix of target by donor layers, and the best monotone map."""
        study = self.study
        shape = (study.target.n_layers, study.donor.n_layers)
        named = {n: torch.full(shape, float("nan"), dtype=torch.float64) for n in FIGURES}
        with study.reporter.bar("align") as advance:
            for done, pair in enumerate(self.matches, 1):
                for name, value in self._pair(pair).items():
                    named[name][pair] = value
                advance(done, len(self.matches), "")
        usable = named["score"].masked_fill(~self._candidates(shape), float("nan"))
        layer_map = monotone_path(
            usable.nan_to_num(float("-inf")),
            named["null"].nan_to_num(0.0),
            study.config.align.depth_penalty * depth_gaps(*shape),
        )
        return named, layer_map

    def _candidates(self, shape: tuple[int, int]) -> Bool[Tensor, "n_target n_donor"]:
        """Pairs the map may use: those that were matched, with the donor's layer in its window."""
        usable = torch.zeros(shape, dtype=torch.bool)
        for target, donor in self.matches:
            usable[target, donor] = donor in self.direction.window
        return usable

    def _pair(self, pair: LayerPair) -> dict[str, float]:
        (target, donor), sites = pair, self.study.sites(self.harvest)
        matches = self.matches[pair]
        rows = sites.rows("select")
        residuals = (sites.residuals("donor", donor)[rows], sites.residuals("target", target)[rows])
        found = {"cka": linear_cka(*residuals)}
        delta = code_differences(self.study, self.direction, donor)
        ids = support(delta, matches, self.study.config.align.n_features)
        if len(ids) < MIN_LATENTS:
            return found
        found |= self._codes(pair, matches, ids)
        if len(matches.eligible_donor) > MIN_LATENTS:
            ids = matches.eligible_donor
            partners = torch.tensor([matches.best_target(int(i)) for i in ids])
            found["decoder_score"] = svcca(
                self.study.donor.sae(donor).W_dec[ids],
                self.study.target.sae(target).W_dec[partners],
                keep_variance=self.study.config.align.keep_variance,
            ).score
        return found

    def _codes(self, pair: LayerPair, matches: Matches, donor_ids: Tensor) -> dict[str, float]:
        (target, donor), section = pair, self.study.config.align
        codes = self.study.codes(self.harvest)
        best = [matches.best_target(int(i)) for i in donor_ids]
        target_ids = torch.tensor(sorted({b for b in best if b is not None}))
        x = _dense(codes.split("donor", donor, "select"), donor_ids)
        y = _dense(codes.split("target", target, "select"), target_ids)
        similarity = svcca(x, y, keep_variance=section.keep_variance)
        null = svcca_null(
            x,
            y,
            n_draws=section.n_null,
            generator=self.study.generator("align", *pair),
            keep_variance=section.keep_variance,
        )
        return {
            "score": similarity.score,
            "null": float(null.quantile(section.null_quantile)),
            "k_donor": similarity.k_x,
            "k_target": similarity.k_y,
        }


def _dense(codes: scipy.sparse.csr_matrix, ids: Tensor) -> Float[Tensor, "n k"]:
    return torch.from_numpy(np.asarray(codes[:, ids.numpy()].todense(), dtype=np.float32))


def as_rows(matrix: Float[Tensor, "n_target n_donor"]) -> Matrix:
    """A matrix as results hold it, None where it is undefined."""
    return tuple(tuple(None if v != v else v for v in row) for row in matrix.tolist())


class Fingerprints(NamedTuple):
    """Concept directions of both sides, the distances of their fingerprints, and the path."""

    directions: dict[SideName, Tensor]
    distance: Matrix | None
    path: tuple[LayerPair, ...] | None


def fingerprints(study: Study, concepts: list[Concept]) -> Fingerprints:
    """How alike layers are in what separates concepts; empty with too few concepts."""
    if len(concepts) < MIN_LATENTS:
        return Fingerprints({}, None, None)
    sides: dict[SideName, Tensor] = {}
    with study.reporter.bar("concepts") as advance:
        for name in ("donor", "target"):
            sides[name] = concept_differences(study.side(name), concepts, advance)
    donor, target = (
        [fingerprint(torch.nn.functional.normalize(atoms, dim=1)) for atoms in tensor]
        for tensor in sides.values()
    )
    distance = torch.tensor([[fingerprint_distance(t, d) for d in donor] for t in target])
    path, _ = dynamic_time_warping(distance)
    return Fingerprints(sides, as_rows(distance), tuple((int(t), int(d)) for t, d in path))
