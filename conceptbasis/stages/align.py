"""Stage `align`: which donor layer stands for which target layer.

The score of a pair is the SVCCA between the codes of the recipe's donor latents and those of their
matched target latents, above the same score with shuffled sites and less a price of unlike depth;
the map is the best monotone path. Concept fingerprints, CKA of the residuals and SVCCA of decoder
rows are reported beside it.
"""

from __future__ import annotations

from conceptbasis.errors import CoverageError
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.runs.graph import Stage
from conceptbasis.study.concepts import allowed_concepts, shown_concepts
from conceptbasis.study.recipes import matches_by_pair
from conceptbasis.study.similarity import LayerScores, as_rows, fingerprints
from conceptbasis.study.study import Study


def align(
    study: Study, harvest: Harvest, direction: DonorDirection, matches: MatchSet
) -> Alignment:
    """Scores every matched layer pair and picks the map.

    Raises:
        CoverageError: if no pair of layers is more alike than chance.
    """
    concepts = allowed_concepts(study)
    scores = LayerScores(study, harvest, direction, matches_by_pair(matches))
    found, layer_map = scores.measure()
    if not layer_map.pairs:
        most = max(row.n_eligible_donor for row in matches.layers)
        raise CoverageError(
            "no donor layer is more like a target layer than shuffled sites are",
            expected="matched recipe latents at one pair of layers at least; most eligible "
            f"donor latents at any pair: {most}",
            fix="use more transfer text or SAEs trained on text like it, or lower match.r_min "
            "or direction.min_probe",
        )
    compared = fingerprints(study, concepts)
    return Alignment(
        score=as_rows(found["score"]),
        null=as_rows(found["null"]),
        kept_dimensions={
            "donor": as_rows(found["k_donor"]),
            "target": as_rows(found["k_target"]),
        },
        decoder_score=as_rows(found["decoder_score"]),
        cka=as_rows(found["cka"]),
        layer_map=layer_map.pairs,
        map_score=layer_map.score,
        unedited=layer_map.unedited_targets,
        concepts=tuple(c.name for c in concepts),
        fingerprint_distance=compared.distance,
        fingerprint_path=compared.path,
        concept_directions=compared.directions,
        shown=shown_concepts(concepts),
    )


ALIGN = Stage(
    "align",
    Alignment,
    align,
    needs=(Harvest, DonorDirection, MatchSet),
    sources=("donor", "target", "donor.saes", "target.saes", "concepts"),
    config=("align", "budget"),
)
