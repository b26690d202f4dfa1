"""What stage `direction` leaves: the donor's own directions of the behavior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conceptbasis.core.directions.selection import Candidate, Selection
from conceptbasis.core.statistics.interval import Interval

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["Candidate", "DonorDirection", "Selection"]


@dataclass(frozen=True)
class DonorDirection:
    """The donor's per-layer directions and the activations they were made from.

    Args:
        per_layer: Unit directions.
        differences: Difference of means, not normalised.
        positive: Residuals at the end of prompts with the behavior.
        negative: The same without it.
        norms: Norm of each difference.
        probe_accuracy: Accuracy of a linear probe at each layer.
        window: Layers whose probe tells the classes apart.
        baseline: Rate at which the donor shows the behavior on positive prompts.
        selection: Table and pick of the published rule.
        behavior_tokens: First tokens that positive prompts make likelier.
    """

    per_layer: Float[Tensor, "n_layers d_donor"]
    differences: Float[Tensor, "n_layers d_donor"]
    positive: Float[Tensor, "n_layers n_positive d_donor"]
    negative: Float[Tensor, "n_layers n_negative d_donor"]
    norms: tuple[float, ...]
    probe_accuracy: tuple[float, ...]
    window: tuple[int, ...]
    baseline: Interval
    selection: Selection
    behavior_tokens: tuple[str, ...]
