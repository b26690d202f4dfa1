"""How far an edit goes, found on benign text alone: γ of `raise`, the offset of `cap`.

Requests a model ought to answer say how far it may go: it goes further until the first tokens of
their answers change by as much as `replay.benign_kl` allows. Neither positive prompts nor a label
of the target are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.budgets import request_classes
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.statistics.curves import largest_within
from conceptbasis.edits.intervention import (
    Intervention,
    apply_intervention,
)
from conceptbasis.edits.planning import lowered, plan_intervention
from conceptbasis.errors import InterventionError, PromptError
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Setting, Strength
from conceptbasis.results.layers import LayerPlan
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

_START, _LIMIT = 0.05, 6.4
"""First and largest strength tried; at 1 what lies above the threshold lies twice as far above."""

_OFFSET, _MAX_OFFSET = 0.5, 3.0
"""First and largest offset tried, in standard deviations of the ends of benign requests."""

MAX_REQUESTS = 256
"""Requests of each group on which the damage is measured."""


def describe(strength: Strength) -> str:
    """One line for the reader of a run."""
    found = f"γ = {-strength.value:.3g}"
    if strength.setting == "offset":
        found = f"offset {strength.value:.3g} standard deviations"
    stop = "" if strength.reached else ", the largest tried"
    return (
        f"strength: {found}{stop}; first-token KL {strength.benign_kl:.3g} of "
        f"{strength.bound:g} nats allowed on {strength.n_requests} benign requests"
    )


def require_strength(strength: Strength) -> None:
    """Refuses a strength that does nothing, and an edit that does too much without an offset.

    Raises:
        InterventionError: if nothing holds the bound.
    """
    if strength.value or 0 < strength.benign_kl <= strength.bound:
        return
    other = {"gamma": "replay.threshold", "offset": "transfer.benign_cosine"}[strength.setting]
    raise InterventionError(
        f"no {strength.setting} holds the benign first-token KL within {strength.bound:g} nats",
        expected="an edit that benign requests bear at a small strength",
        fix=f"raise replay.benign_kl or {other}, or set replay.{strength.setting} to a number",
    )


def settled_edit(
    study: Study,
    sites: Sites,
    plan: LayerPlan,
    rows: Float[Tensor, "n_edited d_target"],
    section: ReplaySection | None = None,
) -> tuple[Intervention, Strength | None]:
    """An edit along directions that each edited layer has for itself, such as guarded ones.

    Args:
        study: Gives the target and the settings.
        sites: Gives benign text.
        plan: The edited layers; it stays with the edit, though the rows are what is used.
        rows: Unit direction of each edited layer.
        section: Another form than the run's.
    """
    planned = _planned(sites, plan, rows, section or study.config.replay)
    edit, strength = settle(study, sites, planned)
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
    planned = _planned(sites, plan, rows, study.config.replay)
    return planned if strength is None else _at(sites, planned, strength.setting, strength.value)


def _planned(sites: Sites, plan: LayerPlan, rows: Tensor, section: ReplaySection) -> Intervention:
    own = LayerPlan.per_layer(plan.layers)
    by_layer = dict(zip(plan.layers, rows, strict=True))
    return plan_intervention(sites, own, by_layer, section)


def settle(
    study: Study, sites: Sites, intervention: Intervention
) -> tuple[Intervention, Strength | None]:
    """The intervention as far as `gamma: auto` or `offset: auto` lets it go; else as it is.

    Args:
        study: Gives the target and the bound.
        sites: Gives benign requests of the `select` split, on which nothing else of the edit
            was fitted.
        intervention: On the layers it is to edit, as it was planned.

    Raises:
        PromptError: without benign requests in the shared text.
    """
    section, loaded = study.config.replay, study.target.loaded
    setting = _to_find(section, intervention)
    if setting is None:
        return intervention, None
    answered, neighbours = benign_requests(sites, study.behavior.neighbour)
    # What removes a behavior must move what looks like it, more than what is answered.
    groups = [g for g in ([answered, neighbours] if setting == "gamma" else [answered]) if g]
    if not groups:
        raise PromptError(
            "no benign request in the shared text to find a strength on",
            expected="texts of the class chat that begin with a user's turn",
            fix=f"add such texts to texts.jsonl, or set replay.{setting} to a number",
        )
    untouched = [sites.untouched_first(loaded, group) for group in groups]

    def damage(value: float) -> float:
        with apply_intervention(loaded, _at(sites, intervention, setting, value)):
            return max(map(_mean_kl, untouched, [first_token_logits(loaded, g) for g in groups]))

    value, kl, reached = _largest(damage, setting, section.benign_kl)
    n_requests = sum(map(len, groups))
    strength = Strength(setting, value, kl, section.benign_kl, reached, n_requests)
    return _at(sites, intervention, setting, value), strength


def _to_find(section: ReplaySection, intervention: Intervention) -> Setting | None:
    if section.gamma == "auto" and intervention.mode == "raise":
        return "gamma"
    return "offset" if section.offset == "auto" and intervention.mode == "cap" else None


def _at(sites: Sites, planned: Intervention, setting: Setting, value: float) -> Intervention:
    return planned.scaled(value) if setting == "gamma" else lowered(sites, planned, value)


def _largest(
    damage: Callable[[float], float], setting: Setting, bound: float
) -> tuple[float, float, bool]:
    """The largest value within the bound, its damage, and whether the bound stopped it."""
    if setting == "gamma":
        return largest_within(damage, bound, start=_START, limit=_LIMIT)
    found = largest_within(damage, bound, start=_OFFSET, limit=_MAX_OFFSET, halvings=2)
    return found if found[0] else (0.0, damage(0.0), True)


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
