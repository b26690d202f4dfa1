"""Stage `align`: which donor layer stands for which target layer.

The score of a pair is the SVCCA between the codes of the recipe's donor features and those of their
matched target features, above the same score with shuffled sites and less a price of unlike depth;
the map is the best monotone path. Concept fingerprints, CKA of the residuals and SVCCA of decoder
rows are reported beside it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.config.budgets import budget_allows, concept_class
from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.core.features.matching import Matches
from conceptbasis.core.layers.alignment import (
    LayerMap,
    depth_gaps,
    dynamic_time_warping,
    monotone_path,
)
from conceptbasis.core.layers.similarity import (
    fingerprint,
    fingerprint_distance,
    linear_cka,
)
from conceptbasis.core.layers.svcca import svcca, svcca_null
from conceptbasis.data.prompts import Concept
from conceptbasis.errors import CoverageError
from conceptbasis.models.stream.native import end_activations
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.progress import Advance
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.match import MatchSet, mask
from conceptbasis.study.harvest import Harvest
from conceptbasis.study.study import Codes, Side, Study

_MIN_FEATURES = 3
"""Fewer matched features than this say nothing about a layer."""


@dataclass(frozen=True)
class Alignment:
    """The layer map, and the concept directions that were measured on the way."""

    layer_map: LayerMap
    output: StageOutput


def code_differences(
    study: Study, direction: DonorDirection, layer: int
) -> Float[Tensor, " d_sae"]:
    """Δz: mean code on harmful minus mean code on harmless donor prompts."""
    sae = study.donor.sae(layer)
    positive, negative = direction.positive[layer], direction.negative[layer]
    return sae.encode(positive).mean(0) - sae.encode(negative).mean(0)


def support(delta: Float[Tensor, " d_sae"], matches: Matches, n_atoms: int) -> Int[Tensor, " n"]:
    """The eligible donor features of largest |Δz|, at most n_atoms."""
    eligible = mask(matches.eligible_donor, len(delta))
    mass = torch.where(eligible, delta.abs(), torch.zeros(()))
    ids = mass.topk(min(n_atoms, int((mass > 0).sum()))).indices
    return ids.sort().values


def allowed_concepts(study: Study) -> list[Concept]:
    """The concepts whose prompts the budget lets the target read."""
    return [c for c in study.suite.concepts if budget_allows(study.config.budget, c.budget)]


def concept_differences(
    side: Side, concepts: list[Concept], advance: Advance
) -> Float[Tensor, "n_layers n_concepts d"]:
    """One difference of means per concept and layer, at the last prompt position."""
    atoms = []
    for done, concept in enumerate(concepts):
        advance(done, len(concepts), side.config.name)
        positive = end_activations(side.loaded, [p.text for p in concept.positive])[-1]
        negative = end_activations(side.loaded, [p.text for p in concept.negative])[-1]
        found = [difference_of_means(p, n) for p, n in zip(positive, negative, strict=True)]
        atoms.append(torch.stack([d.unit * d.norm for d in found]))
    return torch.stack(atoms, dim=1)


def run_align(
    study: Study, harvest: Harvest, codes: Codes, matches: MatchSet, direction: DonorDirection
) -> Alignment:
    """Runs or reuses the stage.

    Raises:
        CoverageError: if no pair of layers is more alike than chance.
    """
    concepts = allowed_concepts(study)
    for concept in concepts:
        n_prompts = len(concept.positive) + len(concept.negative)
        study.ledger.show(concept_class(concept.budget), n_prompts, 0)

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        scores = _Scores(study, harvest, codes, matches, direction)
        result, layer_map = scores.measure()
        if not layer_map.pairs:
            raise CoverageError(
                "no donor layer is more like a target layer than shuffled sites are",
                expected="matched recipe features at one pair of layers at least; most eligible "
                f"donor features at any pair: {_most_eligible(matches)}",
                fix="use more transfer text or SAEs trained on text like it, or lower match.r_min "
                "or direction.min_probe",
            )
        tensors, views = _fingerprints(study, concepts)
        return tensors, result | views

    output = study.run.stage(
        "align",
        config={
            **study.config.align.model_dump(),
            "budget": study.config.budget,
        },
        inputs={
            "match": matches.output.hash,
            "direction": direction.output.hash,
            "target": study.target.model_hash,
            "concepts": value_hash([asdict(c) for c in concepts]),
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    pairs = tuple((int(t), int(d)) for t, d in output.result["layer_map"])
    layer_map = LayerMap(pairs, output.result["map_score"], tuple(output.result["unedited"]))
    return Alignment(layer_map, output)


def _most_eligible(matches: MatchSet) -> int:
    return max(len(m.eligible_donor) for m in matches.pairs.values())


@dataclass
class _Scores:
    """Similarity of all matched pairs of layers."""

    study: Study
    harvest: Harvest
    codes: Codes
    matches: MatchSet
    direction: DonorDirection

    def measure(self) -> tuple[dict[str, Any], LayerMap]:
        study = self.study
        shape = (study.target.n_layers, study.donor.n_layers)
        named = {
            name: torch.full(shape, float("nan"), dtype=torch.float64)
            for name in ("score", "null", "k_donor", "k_target", "decoder_score", "cka")
        }
        with study.reporter.bar("align") as advance:
            for done, pair in enumerate(self.matches.pairs, 1):
                for name, value in self._pair(*pair).items():
                    named[name][pair] = value
                advance(done, len(self.matches.pairs), "")
        usable = named["score"].masked_fill(~self._candidates(shape), float("nan"))
        blank = float("-inf")
        layer_map = monotone_path(
            usable.nan_to_num(blank),
            named["null"].nan_to_num(0.0),
            study.config.align.depth_penalty * depth_gaps(*shape),
        )
        result = {
            "score": _rows(named["score"]),
            "null": _rows(named["null"]),
            "kept_dimensions": {
                "donor": _rows(named["k_donor"]),
                "target": _rows(named["k_target"]),
            },
            "decoder_score": _rows(named["decoder_score"]),
            "cka": _rows(named["cka"]),
            "layer_map": [list(pair) for pair in layer_map.pairs],
            "map_score": layer_map.score,
            "unedited": list(layer_map.unedited_targets),
        }
        return result, layer_map

    def _candidates(self, shape: tuple[int, int]) -> Bool[Tensor, "n_target n_donor"]:
        """Pairs the map may use: those that were matched, with the donor's layer in its window."""
        usable = torch.zeros(shape, dtype=torch.bool)
        for target, donor in self.matches.pairs:
            usable[target, donor] = donor in self.direction.window
        return usable

    def _pair(self, target: int, donor: int) -> dict[str, float]:
        study, section = self.study, self.study.config.align
        matches = self.matches.pairs[(target, donor)]
        delta = code_differences(study, self.direction, donor)
        donor_ids = support(delta, matches, section.n_features)
        rows = self.harvest.rows("select")
        found = {
            "cka": linear_cka(
                self.harvest.residuals("donor", donor)[rows],
                self.harvest.residuals("target", target)[rows],
            )
        }
        if len(donor_ids) < _MIN_FEATURES:
            return found
        best = [matches.best_target(int(i)) for i in donor_ids]
        target_ids = torch.tensor(sorted({b for b in best if b is not None}))
        x = _dense(self.codes.split("donor", donor, "select"), donor_ids)
        y = _dense(self.codes.split("target", target, "select"), target_ids)
        similarity = svcca(x, y, keep_variance=section.keep_variance)
        null = svcca_null(
            x,
            y,
            n_draws=section.n_null,
            generator=study.generator(7919 * target + donor),
            keep_variance=section.keep_variance,
        )
        found |= {
            "score": similarity.score,
            "null": float(null.quantile(section.null_quantile)),
            "k_donor": similarity.k_x,
            "k_target": similarity.k_y,
        }
        if len(matches.eligible_donor) > _MIN_FEATURES:
            ids = matches.eligible_donor
            partners = torch.tensor([matches.best_target(int(i)) for i in ids])
            found["decoder_score"] = svcca(
                study.donor.sae(donor).W_dec[ids],
                study.target.sae(target).W_dec[partners],
                keep_variance=section.keep_variance,
            ).score
        return found


def _dense(codes: Any, ids: Tensor) -> Float[Tensor, "n k"]:
    return torch.from_numpy(np.asarray(codes[:, ids.numpy()].todense(), dtype=np.float32))


def _rows(matrix: Tensor) -> list[list[float | None]]:
    return [[None if v != v else v for v in row] for row in matrix.tolist()]


def _fingerprints(
    study: Study, concepts: list[Concept]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Concept differences of both sides; distances of fingerprints, and the path of warping."""
    names = {"concepts": [c.name for c in concepts]}
    if len(concepts) < _MIN_FEATURES:
        return {}, {**names, "fingerprint_distance": None, "fingerprint_path": None}
    with study.reporter.bar("concepts") as advance:
        sides = {"donor": study.donor, "target": study.target}
        tensors = {
            f"{name}.concepts": concept_differences(side, concepts, advance)
            for name, side in sides.items()
        }
    donor, target = (
        [fingerprint(torch.nn.functional.normalize(atoms, dim=1)) for atoms in tensor]
        for tensor in tensors.values()
    )
    distance = torch.tensor([[fingerprint_distance(t, d) for d in donor] for t in target])
    path, _ = dynamic_time_warping(distance)
    return tensors, {
        **names,
        "fingerprint_distance": distance.tolist(),
        "fingerprint_path": [list(cell) for cell in path],
    }
