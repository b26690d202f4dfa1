"""The strength of an edit that strengthens the behavior, found on benign text alone.

Requests a model ought to answer say how far it may go: the strength grows until the first tokens of
their answers change by as much as `replay.benign_kl` allows. Neither positive prompts nor a label
of the target are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.budgets import request_classes
from conceptbasis.core.statistics.curves import largest_within
from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
    plan_intervention,
)
from conceptbasis.errors import InterventionError, PromptError
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Strength
from conceptbasis.results.layers import LayerPlan
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

_START, _LIMIT = 0.05, 6.4
"""First and largest strength tried; at 1 what lies above the threshold lies twice as far above."""

MAX_REQUESTS = 256
"""Requests of each group on which the damage is measured."""


def describe(strength: Strength) -> str:
    """One line for the reader of a run."""
    stop = "" if strength.reached else ", the largest strength tried"
    return (
        f"strength: γ = {-strength.value:.3g}{stop}; first-token KL {strength.benign_kl:.3g} of "
        f"{strength.bound:g} nats allowed on {strength.n_requests} benign requests"
    )


def require_strength(strength: Strength) -> None:
    """Refuses a strength of nothing.

    Raises:
        InterventionError: if no strength holds the bound.
    """
    if not strength.value:
        raise InterventionError(
            f"no strength holds the benign first-token KL within {strength.bound:g} nats",
            expected="an edit that benign requests bear at a small strength",
            fix="raise replay.benign_kl or replay.threshold, or set replay.gamma to a number",
        )


def settled_edit(
    study: Study, sites: Sites, plan: LayerPlan, rows: Float[Tensor, "n_edited d_target"]
) -> tuple[Intervention, Strength | None]:
    """The run's edit along directions that each edited layer has for itself, such as guarded ones.

    Args:
        study: Gives the target and the settings.
        sites: Gives benign text.
        plan: The edited layers; it stays with the edit, though the rows are what is used.
        rows: Unit direction of each edited layer.
    """
    edit, strength = settle(study, sites, _planned(study, sites, plan, rows))
    return replace(edit, plan=plan), strength


def same_edit(
    study: Study,
    sites: Sites,
    plan: LayerPlan,
    rows: Float[Tensor, "n_edited d_target"],
    strength: Strength | None,
) -> Intervention:
    """The run's edit along other directions at a strength that was found before.

    Args:
        study: Gives the settings.
        sites: Gives benign text.
        plan: The edited layers.
        rows: Unit direction of each edited layer.
        strength: What was found for the run's directions; None where the settings give it.
    """
    planned = _planned(study, sites, plan, rows)
    return planned if strength is None else planned.scaled(strength.value)


def _planned(study: Study, sites: Sites, plan: LayerPlan, rows: Tensor) -> Intervention:
    own = LayerPlan.per_layer(plan.layers)
    by_layer = dict(zip(plan.layers, rows, strict=True))
    return plan_intervention(sites, own, by_layer, study.config.replay)


def settle(
    study: Study, sites: Sites, intervention: Intervention
) -> tuple[Intervention, Strength | None]:
    """The intervention at the strength that `replay.gamma: auto` gives it; else as it is.

    Args:
        study: Gives the target and the bound.
        sites: Gives benign requests of the `select` split, on which nothing else of the edit
            was fitted.
        intervention: On the layers it is to edit, at strength 1.

    Raises:
        PromptError: without benign requests in the shared text.
    """
    section, loaded = study.config.replay, study.target.loaded
    if section.gamma != "auto" or intervention.mode != "raise":
        return intervention, None
    groups = [g for g in benign_requests(sites, study.behavior.neighbour) if g]
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


def benign_requests(sites: Sites, neighbour: str) -> list[list[str]]:
    """Requests of the `select` split: those a model answers, and those it declines for a harmless
    reason (none at B0). Apart, since many of one must not hide what a few of the other suffer."""
    return [_first_turns(sites, request_classes()), _first_turns(sites, (neighbour,))]


def _first_turns(sites: Sites, classes: Sequence[str]) -> list[str]:
    chats = [t.content for t in sites.split_texts("select") if t.text_class in classes]
    asked = [c[0][1] for c in chats if not isinstance(c, str) and c[0][0] == "user"]
    return asked[:MAX_REQUESTS]
