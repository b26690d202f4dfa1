"""Lines: atoms of the recipe that are one concept, traced over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conceptbasis.core.features.evidence import trace_lines
from conceptbasis.study.study import Study


def trace_concepts(
    study: Study, layers: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Atoms of consecutive layers that are one concept, the largest line first.

    Args:
        study: Gives the donor's decoder rows and the bound.
        layers: Layers of the result of stage `atoms`.
        rows: The same layers of the result of stage `transfer`.
    """
    W_dec = [study.donor.sae(row["donor"]).W_dec for row in rows]
    atoms = [row["donor_atoms"] for row in rows]
    decoders = [W[[a["feature"] for a in layer]] for W, layer in zip(W_dec, atoms, strict=True)]
    lines = []
    for steps in trace_lines(decoders, min_similarity=study.config.atoms.min_similarity):
        found = [atoms[step.place][step.row] for step in steps]
        sizes = [abs(atom["coefficient"]) for atom in found]
        best = steps[sizes.index(max(sizes))]
        members = [
            {
                "target": layers[step.place]["target"],
                "donor": layers[step.place]["donor"],
                "feature": atom["feature"],
                "coefficient": atom["coefficient"],
                "similarity": step.similarity,
            }
            for step, atom in zip(steps, found, strict=True)
        ]
        label = layers[best.place]["donor_features"][best.row]["label"]
        lines.append({"label": label, "contribution": sum(sizes), "atoms": members})
    return sorted(lines, key=lambda line: -line["contribution"])
