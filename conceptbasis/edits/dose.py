"""How large an edit is, and whether one of its form breaks the model whatever its direction."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from conceptbasis.edits.intervention import Intervention, apply_intervention, edits_of
from conceptbasis.edits.strength import benign_requests, same_edit
from conceptbasis.errors import InterventionError
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.stream.hooks import edit_function
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Dose, Strength
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study

N_RANDOM, N_REQUESTS = 3, 64


def measure_dose(
    study: Study, sites: Sites, intervention: Intervention, strength: Strength | None = None
) -> Dose | None:
    """The size of an edit and its damage, beside the same edit along random directions.

    Args:
        study: Gives the target and the settings.
        sites: Gives benign text; the requests are those of the `select` split.
        intervention: The finished edit.
        strength: How its strength was found; None where the settings give it.

    Returns:
        None where the shared text holds no benign request.
    """
    requests = _requests(study, sites)
    if not requests:
        return None
    kl = _kl_on(study, sites, requests)
    draws = study.generator("replay", "random")
    random = []
    for _ in range(N_RANDOM):
        unit = torch.nn.functional.normalize(
            torch.randn(intervention.directions.shape[1], generator=draws), dim=0
        )
        rows = unit.expand_as(intervention.directions).clone()
        random.append(kl(same_edit(study, sites, intervention.plan, rows, strength)))
    relative = _relative(study, sites, intervention)
    return Dose(relative, kl(intervention), median(random), len(requests))


def breaks(study: Study, sites: Sites, intervention: Intervention) -> bool:
    """Whether an edit moves the first token of benign requests by more than an edit may whose
    direction is to be the cause (`replay.max_random_kl`).

    Args:
        study: Gives the target and the bound.
        sites: Gives benign requests of the `select` split; without any, nothing is known to break.
        intervention: The edit.
    """
    requests = _requests(study, sites)
    if not requests:
        return False
    return _kl_on(study, sites, requests)(intervention) > study.config.replay.max_random_kl


def _requests(study: Study, sites: Sites) -> list[str]:
    return benign_requests(sites, study.behavior.neighbour)[0][:N_REQUESTS]


def _kl_on(study: Study, sites: Sites, requests: list[str]) -> Callable[[Intervention], float]:
    """Gives the mean first-token KL of an edit; the untouched target is read once."""
    loaded = study.target.loaded
    before = sites.untouched_first(loaded, requests)

    def kl(edit: Intervention) -> float:
        with apply_intervention(loaded, edit):
            return float(first_token_kl(before, first_token_logits(loaded, requests)).mean())

    return kl


def _relative(study: Study, sites: Sites, intervention: Intervention) -> tuple[float, ...]:
    if intervention.mode == "orthogonalise" or intervention.scope != "stream":
        return ()
    found = []
    for edit in edits_of(intervention):
        x = sites.residuals("target", edit.layer)[sites.benign_rows].float()
        moved = edit_function(edit, study.target.loaded.architecture)(x) - x
        found.append(_size(moved) / _size(x))
    return tuple(found)


def _size(x: Tensor) -> float:
    return float(x.double().square().sum(-1).mean().sqrt())


def describe_dose(dose: Dose) -> str:
    """One line for the reader of a run."""
    parts = [
        f"first-token KL {dose.kl:.2g} nats on {dose.n_requests} benign requests, "
        f"{dose.random_kl:.2g} along random directions"
    ]
    if dose.relative:
        low, high = min(dose.relative), max(dose.relative)
        parts.insert(0, f"{low:.1%} to {high:.1%} of the stream a layer")
    return f"dose: {'; '.join(parts)}"


def require_specific(dose: Dose, most: float) -> None:
    """Refuses an edit that breaks the model whatever its direction: nothing could be shown by it.

    Args:
        dose: What was measured.
        most: Largest first-token KL of random directions, nats.

    Raises:
        InterventionError: Random directions do more damage.
    """
    if dose.random_kl > most:
        raise InterventionError(
            f"random directions under this edit move the first token of benign requests by "
            f"{dose.random_kl:.2g} nats, so whatever the edit does, its direction is not the cause",
            expected=f"at most {most:g} nats (replay.max_random_kl)",
            fix="set replay.mode to affine, replay.centre to all, replay.sink_ratio to a number "
            "such as 8, or replay.gamma to a smaller one",
        )
