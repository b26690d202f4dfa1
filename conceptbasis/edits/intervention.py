"""What is done to a model: its layers, directions and strength; and doing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from conceptbasis.models.stream.hooks import Edit, EditMode, intervene
from conceptbasis.models.stream.weights import orthogonalise_weights
from conceptbasis.results.edit import Replayed
from conceptbasis.results.layers import LayerPlan
from conceptbasis.study.sites import Sites


@dataclass(frozen=True)
class Intervention:
    """Everything that is needed to edit a model, and nothing else.

    Args:
        plan: Edited layers, and whose direction each gets.
        directions: Unit direction of each edited layer.
        mode: See docs/method.md.
        scope: `stream` or `writers`.
        gamma: Strength of every mode but `add`: 1 removes, 2 reflects, below 0 strengthens.
        amounts: What `add` adds along each direction.
        means: Where `affine` sets the component to, `cap` at most: by each layer, the mean where
            benign requests end, or all benign positions, moved against the direction by
            `replay.offset`; where the reading of `raise` is 0.
        which: Whether a weight edit covers all writers or attention only.
        gates: What `raise` reads.
        thresholds: Above which reading `raise` acts.
        max_norms: By edited layer, the norm above which a position is a sink that is left alone;
            None where the layer has none.
    """

    plan: LayerPlan
    directions: Float[Tensor, "n_edited d_model"]
    mode: Mode = "ablate"
    scope: Scope = "stream"
    gamma: float = 1.0
    amounts: tuple[float, ...] = ()
    means: Float[Tensor, "n_edited d_model"] | None = None
    which: str = "all"
    gates: Float[Tensor, "n_edited d_model"] | None = None
    thresholds: tuple[float, ...] = ()
    max_norms: tuple[float | None, ...] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        """The edited layers."""
        return self.plan.layers

    def restrict(self, layers: Iterable[int]) -> Intervention:
        """The same intervention on some of its layers.

        Raises:
            InterventionError: if none of them is edited.
        """
        plan = self.plan.restrict(layers)
        kept = [self.layers.index(layer) for layer in plan.layers]
        return replace(
            self,
            plan=plan,
            directions=self.directions[kept],
            amounts=tuple(self.amounts[i] for i in kept) if self.amounts else (),
            means=self.means[kept] if self.means is not None else None,
            gates=self.gates[kept] if self.gates is not None else None,
            thresholds=tuple(self.thresholds[i] for i in kept) if self.thresholds else (),
            max_norms=tuple(self.max_norms[i] for i in kept) if self.max_norms else (),
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
        InterventionError: if `affine` or `cap` has no means, or `raise` no gates.
    """
    edits = []
    for i, (layer, r) in enumerate(zip(intervention.layers, intervention.directions, strict=True)):
        if intervention.mode in ("affine", "cap"):
            if intervention.means is None:
                raise InterventionError(
                    f"mode {intervention.mode} without benign means",
                    expected="one mean per edited layer",
                    fix="run the replay stage, which measures them",
                )
            mean = intervention.means[i]
            mode: EditMode = "affine" if intervention.mode == "affine" else "cap"
            edits.append(Edit(layer, r, mode, mean=mean, gamma=intervention.gamma))
        elif intervention.mode == "raise":
            edits.append(_raising(intervention, i))
        elif intervention.mode == "add":
            edits.append(Edit(layer, r, "add", amount=intervention.amounts[i]))
        else:
            edits.append(Edit(layer, r, gamma=intervention.gamma))
    bounds = intervention.max_norms or (None,) * len(edits)
    return [replace(edit, max_norm=most) for edit, most in zip(edits, bounds, strict=True)]


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
    sites: Sites,
    plan: LayerPlan,
    by_layer: Mapping[int, Float[Tensor, " d_model"]],
    section: ReplaySection,
    means: Mapping[int, Float[Tensor, " d_model"]] | None = None,
) -> Intervention:
    """An intervention along directions, with amounts (mode `add`) and means of benign sites.

    Amounts are in standard deviations over all benign sites. Means are those at the ends of benign
    requests, so that `affine` leaves a request it ought to answer where such requests are, or at
    all benign sites, so that it leaves words where words are (`replay.centre`). `cap` moves only
    what lies above them. A run
    that removes a direction goes on by `replay.offset` standard deviations of these requests,
    which makes up for what a rebuilt direction misses and is where many of them lie anyway. Gates
    and thresholds of `raise` are those of benign requests of the `fit` split. γ `auto` is planned
    as −1 and an offset `auto` as 0, for `strength.settle` to find.

    Args:
        sites: Gives the target's residuals on benign text.
        plan: Edited layers, and whose direction each gets.
        by_layer: Unit directions of the layers that the plan takes them from.
        section: Mode, scope and strength.
        means: Other means than those of the benign requests, by edited layer.
    """
    directions = torch.stack([by_layer[source] for _, source in plan.source])
    along = list(zip(plan.layers, directions, strict=True))
    amounts: list[float] = []
    if section.mode == "add":
        rows = sites.benign_rows
        for layer, r in along:
            x = sites.residuals("target", layer)[rows]
            amounts.append(section.alpha * float((x @ r).double().std()))
    gates = [_gate(sites, layer, r, section) for layer, r in along if section.mode == "raise"]
    gamma = -1.0 if section.gamma == "auto" else section.gamma
    return Intervention(
        plan,
        directions,
        section.mode,
        section.scope,
        gamma,
        tuple(amounts),
        torch.stack([gate.mean for gate in gates])
        if gates
        else _means(sites, plan, directions, section, means),
        section.which,
        torch.stack([gate.weights for gate in gates]) if gates else None,
        tuple(gate.threshold for gate in gates),
        tuple(sites.sink_bound(layer, section.sink_ratio) for layer in plan.layers),
    )


def _means(
    sites: Sites,
    plan: LayerPlan,
    directions: Float[Tensor, "n_edited d_model"],
    section: ReplaySection,
    given: Mapping[int, Float[Tensor, " d_model"]] | None,
) -> Float[Tensor, "n_edited d_model"]:
    means = torch.stack(
        [
            sites.centre(layer, section.centre) if given is None else given[layer]
            for layer in plan.layers
        ]
    )
    if section.mode not in ("affine", "cap") or section.gamma == "auto" or section.gamma <= 0:
        return means
    offset = 0.0 if section.offset == "auto" else section.offset
    return means - offset * _spreads(sites, plan, directions)[:, None] * directions


def _spreads(
    sites: Sites, plan: LayerPlan, directions: Float[Tensor, "n_edited d_model"]
) -> Float[Tensor, " n_edited"]:
    """Standard deviations of the ends of benign requests along the direction of each layer."""
    ends = [sites.reported_ends(layer) for layer in plan.layers]
    return torch.stack([(x @ r).std() for x, r in zip(ends, directions, strict=True)])


def lowered(sites: Sites, intervention: Intervention, offset: float) -> Intervention:
    """The edit with its means moved further against the directions.

    Args:
        sites: Gives the ends of benign requests.
        intervention: Of a mode that has means.
        offset: In standard deviations of the ends along each direction, as `replay.offset`.
    """
    assert intervention.means is not None
    rows = intervention.directions
    steps = _spreads(sites, intervention.plan, rows)[:, None] * rows
    return replace(intervention, means=intervention.means - offset * steps)


def _gate(sites: Sites, layer: int, r: Tensor, section: ReplaySection) -> Gate:
    return fit_gate(
        r,
        sites.benign_ends("fit", layer),
        quantile=section.threshold,
        shrinkage=section.benign_shrinkage,
    )


def intervention_of(replayed: Replayed) -> Intervention:
    """The intervention that a finished replay stage describes."""
    return Intervention(
        replayed.plan,
        replayed.directions,
        replayed.mode,  # type: ignore[arg-type]
        replayed.scope,  # type: ignore[arg-type]
        replayed.gamma,
        replayed.amounts,
        replayed.means,
        replayed.which,
        replayed.gates,
        replayed.thresholds,
        replayed.max_norms,
    )


def strengthens(replay: ReplaySection) -> bool:
    """Whether an intervention is meant to strengthen the behavior."""
    if replay.mode == "add":
        return replay.alpha > 0
    return replay.gamma == "auto" or replay.gamma < 0
