"""Flows: atoms of the recipe that are one concept, traced over the layers."""

from __future__ import annotations

from collections.abc import Sequence

from conceptbasis.core.features.evidence import trace_lines
from conceptbasis.results.atoms import Flow, FlowAtom, LayerAtoms
from conceptbasis.results.recipe import LayerTransfer
from conceptbasis.study.study import Study


def trace_concepts(
    study: Study, layers: Sequence[LayerAtoms], rows: Sequence[LayerTransfer]
) -> tuple[Flow, ...]:
    """Atoms of consecutive layers that are one concept, the largest flow first.

    Args:
        study: Gives the donor's decoder rows and the bound.
        layers: What the atoms of each layer stand for.
        rows: The same layers of the transfer.
    """
    decoders = [
        study.donor.sae(row.donor).W_dec[[atom.latent for atom in row.donor_atoms]] for row in rows
    ]
    flows = []
    for steps in trace_lines(decoders, min_similarity=study.config.atoms.min_similarity):
        found = [rows[step.place].donor_atoms[step.row] for step in steps]
        sizes = [abs(atom.coefficient) for atom in found]
        best = steps[sizes.index(max(sizes))]
        atoms = tuple(
            FlowAtom(
                layers[step.place].target,
                layers[step.place].donor,
                atom.latent,
                atom.coefficient,
                step.similarity,
            )
            for step, atom in zip(steps, found, strict=True)
        )
        label = layers[best.place].donor_latents[best.row].label
        flows.append(Flow(label, sum(sizes), atoms))
    return tuple(sorted(flows, key=lambda flow: -flow.contribution))
