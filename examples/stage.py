"""A stage in one file: how long the donor's direction is beside the stream it lies in.

    conceptbasis demo --set extensions='[examples/stage.py]'

leaves runs/demo/dose/result.json.
"""

from __future__ import annotations

from dataclasses import dataclass

from conceptbasis.results.direction import DonorDirection
from conceptbasis.runs.graph import Stage
from conceptbasis.stages import register
from conceptbasis.study.study import Study


@dataclass(frozen=True)
class Dose:
    """Norm of the difference of means over the mean norm of the residual, by donor layer."""

    by_layer: tuple[float, ...]


def dose(study: Study, direction: DonorDirection) -> Dose:
    """Measures it on the negative prompts of the direction."""
    size = direction.negative.norm(dim=-1).mean(1)
    return Dose(tuple((direction.differences.norm(dim=-1) / size).tolist()))


register(Stage("dose", Dose, dose, needs=(DonorDirection,)), after="direction")
