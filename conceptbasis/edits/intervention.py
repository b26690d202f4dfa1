"""What is done to a model: its layers, directions and strength; and doing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.transfer import Mode, ReplaySection, Scope
from conceptbasis.errors import InterventionError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.weights import orthogonalise_weights
from conceptbasis.results.edit import Replayed
from conceptbasis.results.layers import LayerPlan


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
        gates: What `raise` reads, and `cap` where both sorts of positions have one mean.
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
            edit = Edit(layer, r, "affine", mean=mean, gamma=intervention.gamma)
            if intervention.mode == "cap":
                read = None if intervention.gates is None else intervention.gates[i]
                edit = replace(edit, mode="cap", gate=read)
            edits.append(edit)
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
