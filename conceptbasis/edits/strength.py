"""The strength of an edit, found on benign text alone.

Requests a model ought to answer say how far it may go: γ of an edit that strengthens, or the offset
of one that removes, grows until the first tokens of their answers change by as much as
`replay.benign_kl` allows. Neither positive prompts nor a label of the target are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.budgets import request_classes
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.statistics.curves import largest_within
from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
    end_spreads,
    plan_intervention,
)
from conceptbasis.errors import InterventionError, PromptError
from conceptbasis.models.stream.native import first_token_kl
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Knob, Strength
from conceptbasis.results.layers import LayerPlan
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

_START, _LIMIT = 0.05, 6.4
"""First and largest strength tried; at 1 what lies above the threshold lies twice as far above."""

_FIRST_OFFSET, _LARGEST_OFFSET = 0.25, 4.0
"""In standard deviations of benign requests along the direction."""

MAX_REQUESTS = 256
"""Requests of each group on which the damage is measured."""


def describe(strength: Strength) -> str:
    """One line for the reader of a run."""
    stop = "" if strength.reached else ", the largest strength tried"
    size = (
        f"γ = {-strength.value:.3g}"
        if strength.knob == "gamma"
        else (f"offset {strength.value:.3g} σ")
    )
    return (
        f"strength: {size}{stop}; first-token KL {strength.benign_kl:.3g} of "
        f"{strength.bound:g} nats allowed on {strength.n_requests} benign requests"
    )


def require_strength(strength: Strength) -> None:
    """Refuses a strength of nothing; an offset of nothing leaves the edit that removes.

    Raises:
        InterventionError: if no strength holds the bound.
    """
    if strength.knob == "gamma" and not strength.value:
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
    edit, strength = settle(study, sites, _planned(study, sites, plan, rows), study.config.replay)
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
    if strength is None:
        return planned
    return _at(sites, planned, strength.knob, strength.value)


def _planned(study: Study, sites: Sites, plan: LayerPlan, rows: Tensor) -> Intervention:
    own = LayerPlan.per_layer(plan.layers)
    study.read_edited(sites, plan.layers)
    by_layer = dict(zip(plan.layers, rows, strict=True))
    return plan_intervention(sites, own, by_layer, study.config.replay)


def settle(
    study: Study, sites: Sites, intervention: Intervention, section: ReplaySection
) -> tuple[Intervention, Strength | None]:
    """The intervention at the strength that a setting of `auto` gives it; else as it is.

    Args:
        study: Gives the target.
        sites: Gives benign requests of the `select` split, on which nothing else of the edit
            was fitted.
        intervention: On the layers it is to edit, at strength 1 and offset 0.
        section: Its form, and the bound.

    Raises:
        PromptError: without benign requests in the shared text.
    """
    knob: Knob
    if section.gamma == "auto" and intervention.mode == "raise":
        knob, start, limit = "gamma", _START, _LIMIT
    elif section.offset == "auto" and section.removes:
        knob, start, limit = "offset", _FIRST_OFFSET, _LARGEST_OFFSET
    else:
        return intervention, None
    loaded = study.target.loaded
    groups = [g for g in benign_requests(sites, study.behavior.neighbour) if g]
    if not groups:
        raise PromptError(
            "no benign request in the shared text to find a strength on",
            expected="texts of the class chat that begin with a user's turn",
            fix=f"add such texts to texts.jsonl, or set replay.{knob} to a number",
        )
    untouched = [first_token_logits(loaded, group) for group in groups]

    def damage(value: float) -> float:
        with apply_intervention(loaded, _at(sites, intervention, knob, value)):
            return max(map(_mean_kl, untouched, [first_token_logits(loaded, g) for g in groups]))

    found = largest_within(damage, section.benign_kl, start=start, limit=limit)
    value, kl, reached = found
    strength = Strength(knob, value, kl, section.benign_kl, reached, sum(map(len, groups)))
    return _at(sites, intervention, knob, value), strength


def _at(sites: Sites, intervention: Intervention, knob: Knob, value: float) -> Intervention:
    if knob == "gamma":
        return intervention.scaled(value)
    spreads = end_spreads(sites, intervention.layers, intervention.directions)
    return intervention.below(value * spreads)


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
