"""What an edit may be, and the account of what it edited; shared by hooks and weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import Architecture

Scope = Literal["stream", "writers"]


@dataclass(frozen=True)
class EditReport:
    """What an intervention edited, as (done, of).

    `mlp` counts dense MLPs and shared experts, `experts` counts routed experts.
    """

    stream: tuple[int, int]
    attention: tuple[int, int]
    mlp: tuple[int, int]
    experts: tuple[int, int]

    def __str__(self) -> str:
        parts = [
            f"{done}/{of} {name}"
            for name, (done, of) in self.as_dict().items()
            if of and (done or name != "stream")
        ]
        return ", ".join(parts)

    def as_dict(self) -> dict[str, tuple[int, int]]:
        """The four counts by name, as they stand in the summary of a run."""
        return {
            "stream": self.stream,
            "attention": self.attention,
            "mlp": self.mlp,
            "experts": self.experts,
        }


def count_edits(
    architecture: Architecture,
    layers: Iterable[int],
    *,
    scope: Scope = "writers",
    attention_only: bool = False,
) -> EditReport:
    """Counts the writers of the edited layers against those of the whole model.

    Args:
        architecture: The model's architecture.
        layers: The edited layers.
        scope: `stream` counts blocks only.
        attention_only: Whether MLPs and experts were left alone.

    Returns:
        The counts.
    """
    edited = set(layers)
    done, of = [0, 0, 0], [0, 0, 0]
    for layer in range(architecture.n_layers):
        for slot in architecture.writers(layer):
            place = {"attention": 0, "expert": 2}.get(slot.kind, 1)
            of[place] += slot.n_experts or 1
            if layer in edited and scope == "writers" and not (attention_only and place):
                done[place] += slot.n_experts or 1
    stream = (len(edited) if scope == "stream" else 0, architecture.n_layers)
    counts = [(d, o) for d, o in zip(done, of, strict=True)]
    return EditReport(stream, counts[0], counts[1], counts[2])


def check_direction(direction: Tensor, architecture: Architecture, where: str) -> Tensor:
    """Returns the direction if it is a finite unit vector of width d_model.

    Args:
        direction: The vector.
        architecture: Gives d_model.
        where: What it is for, in the message.

    Returns:
        The same tensor.

    Raises:
        InterventionError: It is not.
    """
    if direction.shape != (architecture.d_model,):
        raise InterventionError(
            f"the direction for {where} has shape {tuple(direction.shape)}",
            expected=f"({architecture.d_model},), the model's d_model",
            fix="use a direction of this model",
        )
    norm = float(direction.double().norm())
    if not abs(norm - 1.0) < 1e-3:
        raise InterventionError(
            f"the direction for {where} has norm {norm}",
            expected="a finite unit vector",
            fix="divide the direction by its norm; if that is zero or NaN, there is no direction",
        )
    return direction


def check_layer(architecture: Architecture, layer: int) -> None:
    """Raises InterventionError when the model has no such layer.

    Args:
        architecture: The model's architecture.
        layer: Index of a block.

    Raises:
        InterventionError: The layer is out of range.
    """
    if not 0 <= layer < architecture.n_layers:
        raise InterventionError(
            f"an edit at layer {layer}",
            expected=f"0 to {architecture.n_layers - 1}",
            fix="map the direction to a layer the model has",
        )


def nothing_edited() -> InterventionError:
    """The error of an intervention that would leave the model as it is."""
    return InterventionError(
        "the intervention edits nothing",
        expected="at least one layer",
        fix="check that the transfer kept at least one layer",
    )
