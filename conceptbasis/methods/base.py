"""What a method is: anything that is done to the target and measured, under one name.

A method says what its role is, how it is fitted and what edit it makes. It sees no prompt and no
label, only what its `Bridge` hands over. This module and the files of methods import no tensor
library until they compute, so that tables read the registry at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from conceptbasis.results.layers import LayerPair

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from conceptbasis.config.evaluation import EvaluateSection
    from conceptbasis.edits.intervention import Intervention
    from conceptbasis.methods.bridge import Bridge
    from conceptbasis.methods.rebuilder import Choice

Role: TypeAlias = Literal[
    "untouched", "native", "transfer", "route", "ablation", "baseline", "control"
]

GROUPS: Mapping[str, tuple[Role, ...]] = {
    "Untouched and native": ("untouched", "native"),
    "Transfer": ("transfer",),
    "Routes and ablations": ("route", "ablation"),
    "Baselines": ("baseline",),
    "Controls that must fail": ("control",),
}
"""Roles by the heading of their part of a table, in the order of display."""


class LeftOut(Exception):
    """A method that has no edit on this run, with the reason."""


@dataclass(frozen=True)
class Treatment:
    """What is done to the target; by default nothing.

    Args:
        edit: An edit along directions.
        splice: Layers whose output becomes its SAE's reconstruction.
    """

    edit: Intervention | None = None
    splice: tuple[int, ...] = ()

    def on(self, layers: Iterable[int]) -> Iterator[Treatment]:
        """The same edit on some of its layers; nothing where it edits none of them."""
        kept = set(layers) & set(self.edit.layers if self.edit else ())
        if self.edit and kept:
            yield Treatment(self.edit.restrict(kept))


@dataclass(frozen=True)
class Moved:
    """A direction that a method brought to one target layer.

    Args:
        pair: Target and donor layer.
        direction: Unit direction.
        ridge: Chosen ridge, None where there is none to choose.
        selection: Projection agreement on the sites of the choices.
        agreement: The same on sites that nothing was chosen on.
        mean: Benign mean of its own replay form, None where the run measures it.
        details: Further figures.
    """

    pair: LayerPair
    direction: Float[Tensor, " d_target"]
    ridge: float | None
    selection: float
    agreement: float
    mean: Float[Tensor, " d_target"] | None = None
    details: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, pair: LayerPair, choice: Choice) -> Moved:
        """A direction that the rebuilder chose or measured."""
        direction = choice.rebuilt.direction
        return cls(pair, direction, choice.ridge, choice.selection, choice.agreement)


@dataclass(frozen=True)
class Fitted:
    """All directions of a method, and what is worth reading about them."""

    moved: Sequence[Moved]
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """Anything that is done to the target and measured.

    A baseline has `move` or `fit`, and its edit is made from what these give; every other method
    has `plan`. All three may raise `LeftOut`.

    Args:
        name: As in results and on the command line.
        role: What it is there to show. A `control` must leave the behavior as it is.
        label: What a reader sees.
        plan: Yields one treatment a draw, as many as are asked for; none where it does not apply.
        move: Brings the donor's direction to the target at one pair of the layer map.
        fit: Brings all directions to the target at once.
        form: Settings of `replay` of its own, over their defaults; None to replay as the run does.
        draws: How many random draws are pooled; None for a method without chance. Draws are
            measured on fewer prompts.
        reads_labels: Whether it needs the target's own directions; it cannot run before the seal.
        by_default: Whether a run has this baseline without naming it.
        at_equal_damage: Whether the curve compares it.
        compared: Whether tables of several runs show its figures in detail.
        sets_range: Whether its draws say what any edit of this size costs in capability; these
            are measured on every prompt.
        checked_by: A method that shows whether this control can fail at all.
        source: Where it is from.
    """

    name: str
    role: Role
    label: str
    plan: Callable[[Bridge], Iterable[Treatment]] | None = None
    move: Callable[[Bridge, LayerPair], Moved] | None = None
    fit: Callable[[Bridge], Fitted] | None = None
    form: Mapping[str, str | float] | None = None
    draws: Callable[[EvaluateSection], int] | None = None
    reads_labels: bool = False
    by_default: bool = True
    at_equal_damage: bool = False
    compared: bool = False
    sets_range: bool = False
    checked_by: str | None = None
    source: str = ""
