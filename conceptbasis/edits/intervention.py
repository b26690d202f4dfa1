"""What is done to a model: its layers, directions and strength; and doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.transfer import Mode, ReplaySection, Scope
from conceptbasis.core.edits.gates import Gate, fit_gate
from conceptbasis.errors import InterventionError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.weights import orthogonalise_weights
from conceptbasis.study.harvest import Harvest


@dataclass(frozen=True)
class Intervention:
    """Everything that is needed to edit a model, and nothing else.

    Args:
        layers: Edited layers.
        directions: Unit direction of each.
        mode: See docs/method.md.
        scope: `stream` or `writers`.
        gamma: Strength of every mode but `add`: 1 removes, 2 reflects, below 0 strengthens.
        amounts: What `add` adds along each direction.
        means: Where `affine` sets the component to: by each layer, the mean where benign requests
            end, moved against the direction by `replay.offset`; where the reading of `raise` is 0.
        which: Whether a weight edit covers all writers or attention only.
        gates: What `raise` reads.
        thresholds: Above which reading `raise` acts.
    """

    layers: tuple[int, ...]
    directions: Float[Tensor, "n_edited d_model"]
    mode: Mode = "ablate"
    scope: Scope = "stream"
    gamma: float = 1.0
    amounts: tuple[float, ...] = ()
    means: Float[Tensor, "n_edited d_model"] | None = None
    which: str = "all"
    gates: Float[Tensor, "n_edited d_model"] | None = None
    thresholds: tuple[float, ...] = ()

    def restrict(self, layers: Sequence[int]) -> Intervention:
        """The same intervention on some of its layers.

        Raises:
            InterventionError: if none of them is edited.
        """
        kept = [i for i, layer in enumerate(self.layers) if layer in set(layers)]
        if not kept:
            raise InterventionError(
                f"none of the layers {sorted(layers)} is edited by this transfer",
                expected=f"some of {list(self.layers)}",
                fix="choose other layers (key replay.layers)",
            )
        return replace(
            self,
            layers=tuple(self.layers[i] for i in kept),
            directions=self.directions[kept],
            amounts=tuple(self.amounts[i] for i in kept) if self.amounts else (),
            means=self.means[kept] if self.means is not None else None,
            gates=self.gates[kept] if self.gates is not None else None,
            thresholds=tuple(self.thresholds[i] for i in kept) if self.thresholds else (),
        )

    def scaled(self, strength: float) -> Intervention:
        """The same intervention at a multiple of its strength."""
        return replace(
            self,
            gamma=self.gamma * strength,
            amounts=tuple(amount * strength for amount in self.amounts),
        )


@contextmanager
def apply_intervention(loaded: LoadedModel, intervention: Intervention) -> Iterator[EditReport]:
    """Edits the model for the duration of the context and restores it exactly.

    Yields:
        What is edited.

    Raises:
        InterventionError: if nothing would be edited, or the edit is not allowed on this model.
    """
    if intervention.mode == "orthogonalise":
        directions = dict(zip(intervention.layers, intervention.directions, strict=True))
        with orthogonalise_weights(
            loaded,
            directions,
            gamma=intervention.gamma,
            which="attention" if intervention.which == "attention" else "all",
        ) as report:
            yield report
        return
    with intervene(loaded, edits_of(intervention), scope=intervention.scope) as report:
        yield report


def edits_of(intervention: Intervention) -> list[Edit]:
    """The hooks of an intervention that is no weight edit.

    Raises:
        InterventionError: if `affine` has no means, or `raise` no gates.
    """
    edits = []
    for i, (layer, r) in enumerate(zip(intervention.layers, intervention.directions, strict=True)):
        if intervention.mode == "affine":
            if intervention.means is None:
                raise InterventionError(
                    "mode affine without benign means",
                    expected="one mean per edited layer",
                    fix="run the replay stage, which measures them",
                )
            mean = intervention.means[i]
            edits.append(Edit(layer, r, "affine", mean=mean, gamma=intervention.gamma))
        elif intervention.mode == "raise":
            edits.append(_raising(intervention, i))
        elif intervention.mode == "add":
            edits.append(Edit(layer, r, "add", amount=intervention.amounts[i]))
        else:
            edits.append(Edit(layer, r, gamma=intervention.gamma))
    return edits


def _raising(intervention: Intervention, place: int) -> Edit:
    if intervention.means is None or intervention.gates is None:
        raise InterventionError(
            "mode raise without gates",
            expected="one gate, mean and threshold per edited layer",
            fix="run the replay stage, which finds them on benign text",
        )
    return Edit(
        intervention.layers[place],
        intervention.directions[place],
        "raise",
        mean=intervention.means[place],
        gamma=intervention.gamma,
        gate=intervention.gates[place],
        threshold=intervention.thresholds[place],
    )


def plan_intervention(
    harvest: Harvest,
    layers: Sequence[int],
    directions: Float[Tensor, "n_edited d_model"],
    section: ReplaySection,
    means: Float[Tensor, "n_edited d_model"] | None = None,
) -> Intervention:
    """An intervention along directions, with amounts (mode `add`) and means of benign sites.

    Amounts are in standard deviations over all benign sites. Means are those at the ends of benign
    requests, so that `affine` leaves a request it ought to answer where such requests are; a run
    that removes a direction goes on by `replay.offset` standard deviations of these requests,
    which makes up for what a rebuilt direction misses and is where many of them lie anyway. Gates
    and thresholds of `raise` are those of benign requests of the `fit` split; γ `auto` is planned
    as −1, for `strength.settle` to scale.

    Args:
        harvest: Gives the target's residuals on benign text.
        layers: Target layers.
        directions: Unit directions of those layers.
        section: Mode, scope and strength.
        means: Other means than those of the benign requests.
    """
    amounts: list[float] = []
    if section.mode == "add":
        rows = harvest.benign_rows
        for layer, r in zip(layers, directions, strict=True):
            x = harvest.residuals("target", layer)[rows]
            amounts.append(section.alpha * float((x @ r).double().std()))
    ends = [harvest.reported_ends(layer) for layer in layers]
    if means is None:
        means = torch.stack([x.double().mean(0).float() for x in ends])
    gates = _gates(harvest, layers, directions, section) if section.mode == "raise" else []
    if gates:
        means = torch.stack([gate.mean for gate in gates])
    gamma = -1.0 if section.gamma == "auto" else section.gamma
    if section.mode == "affine" and gamma > 0:
        spreads = torch.stack([(x @ r).std() for x, r in zip(ends, directions, strict=True)])
        means = means - section.offset * spreads[:, None] * directions
    return Intervention(
        tuple(layers),
        directions,
        section.mode,
        section.scope,
        gamma,
        tuple(amounts),
        means,
        section.which,
        torch.stack([gate.weights for gate in gates]) if gates else None,
        tuple(gate.threshold for gate in gates),
    )


def _gates(
    harvest: Harvest, layers: Sequence[int], directions: Tensor, section: ReplaySection
) -> list[Gate]:
    return [
        fit_gate(
            r,
            harvest.benign_ends("fit", layer),
            quantile=section.threshold,
            shrinkage=section.benign_shrinkage,
        )
        for layer, r in zip(layers, directions, strict=True)
    ]


def strengthens(replay: ReplaySection) -> bool:
    """Whether an intervention is meant to raise refusal."""
    if replay.mode == "add":
        return replay.alpha > 0
    return replay.gamma == "auto" or replay.gamma < 0


def chosen_layers(
    section: ReplaySection, layers: Sequence[int], n_layers: int, single: int | None
) -> list[int]:
    """The layers that `replay.layers` leaves: all, those below 0.8 L, or the last one.

    Args:
        section: Says which.
        layers: Layers that have a direction.
        n_layers: Of the model.
        single: The layer whose direction all of them share, None where each has its own; `raise`
            begins there, since earlier layers do not tell harmful requests from benign ones yet.
    """
    if section.mode == "raise" and single is not None:
        layers = [layer for layer in layers if layer >= single]
    if section.layers == "early":
        return [layer for layer in layers if layer < int(section.early_fraction * n_layers)]
    if section.layers == "last":
        return [layer for layer in layers if layer == n_layers - 1]
    return list(layers)
