"""The strength of an edit that raises refusal, found on benign text alone.

Requests a model ought to answer say how far it may go: the strength grows until the first tokens of
their answers change by as much as `replay.benign_kl` allows. Neither harmful prompts nor a refusal
label of the target are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.budgets import request_classes
from conceptbasis.core.statistics.curves import largest_within
from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
    chosen_layers,
    plan_intervention,
)
from conceptbasis.errors import PromptError
from conceptbasis.models.stream.native import first_token_kl
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.study.harvest import Harvest
from conceptbasis.study.study import Study

_START, _LIMIT = 0.05, 6.4
"""First and largest strength tried; at 1 what lies above the threshold lies twice as far above."""

MAX_REQUESTS = 256
"""Requests of each group on which the damage is measured."""


@dataclass(frozen=True)
class Strength:
    """A strength that was found.

    Args:
        value: The strength, 0 or above; γ is its negative.
        benign_kl: Mean first-token KL it does, of the group of requests that suffers most, nats.
        bound: What was allowed.
        reached: Whether the bound stopped it, and not the largest strength tried.
        n_requests: Benign requests it was found on.
    """

    value: float
    benign_kl: float
    bound: float
    reached: bool
    n_requests: int

    def describe(self) -> str:
        """One line for the reader of a run."""
        stop = "" if self.reached else ", the largest strength tried"
        return (
            f"strength: γ = {-self.value:.3g}{stop}; first-token KL {self.benign_kl:.3g} of "
            f"{self.bound:g} nats allowed on {self.n_requests} benign requests"
        )


def settled_intervention(
    study: Study,
    harvest: Harvest,
    layers: Sequence[int],
    directions: Float[Tensor, "n_edited d_model"],
    single: int | None,
) -> tuple[Intervention, Strength | None]:
    """The edit that a run's settings make of some directions: its layers, form and strength.

    Args:
        study: Gives the target and the settings.
        harvest: Gives benign text.
        layers: Target layers that have a direction.
        directions: Unit direction of each.
        single: The layer whose direction all of them share, None where each has its own.

    Returns:
        The edit, and how its strength was found where it had to be.

    Raises:
        InterventionError: if `replay.layers` leaves none of the layers.
        PromptError: without benign requests to find a strength on.
    """
    section = study.config.replay
    planned = plan_intervention(harvest, layers, directions, section)
    kept = chosen_layers(section, layers, study.target.n_layers, single)
    return settle(study, harvest, planned.restrict(kept))


def settle(
    study: Study, harvest: Harvest, intervention: Intervention
) -> tuple[Intervention, Strength | None]:
    """The intervention at the strength that `replay.gamma: auto` gives it; else as it is.

    Args:
        study: Gives the target and the bound.
        harvest: Gives benign requests of the `select` split, on which nothing else of the edit
            was fitted.
        intervention: On the layers it is to edit, at strength 1.

    Raises:
        PromptError: without benign requests in the shared text.
    """
    section, loaded = study.config.replay, study.target.loaded
    if section.gamma != "auto" or intervention.mode != "raise":
        return intervention, None
    groups = [g for g in benign_requests(harvest) if g]
    if not groups:
        raise PromptError(
            "no benign request in the shared text to find a strength on",
            expected="texts of the class chat that begin with a user's turn",
            fix="add such texts to texts.jsonl, or set replay.gamma to a number",
        )
    untouched = [first_token_logits(loaded, group) for group in groups]

    def damage(strength: float) -> float:
        with apply_intervention(loaded, intervention.scaled(strength)):
            return max(map(_mean_kl, untouched, [first_token_logits(loaded, g) for g in groups]))

    found = largest_within(damage, section.benign_kl, start=_START, limit=_LIMIT)
    value, kl, reached = found
    n_requests = sum(map(len, groups))
    strength = Strength(value, kl, section.benign_kl, reached, n_requests)
    return intervention.scaled(value), strength


def _mean_kl(before: Tensor, after: Tensor) -> float:
    return float(first_token_kl(before, after).mean())


def benign_requests(harvest: Harvest) -> list[list[str]]:
    """Requests of the `select` split: those a model answers, and those it declines for a harmless
    reason (none at B0). Apart, since many of one must not hide what a few of the other suffer."""
    return [_first_turns(harvest, request_classes()), _first_turns(harvest, ("declines",))]


def _first_turns(harvest: Harvest, classes: Sequence[str]) -> list[str]:
    chats = [t.content for t in harvest.split_texts("select") if t.text_class in classes]
    asked = [c[0][1] for c in chats if not isinstance(c, str) and c[0][0] == "user"]
    return asked[:MAX_REQUESTS]
