"""Stage `replay`: fixes the edit of the target and proves that it acts."""

from __future__ import annotations

from conceptbasis.edits.dose import describe_dose, measure_dose, require_specific
from conceptbasis.edits.intervention import apply_intervention
from conceptbasis.edits.strength import describe, require_strength, settled_edit
from conceptbasis.models.loading.wrapped import hash_weights
from conceptbasis.results.edit import Guarded, Replayed
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.recipe import Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def replay(study: Study, harvest: Harvest, transfer: Transfer, guarded: Guarded) -> Replayed:
    """The intervention along the guarded directions, at the strength that the settings give."""
    section, sites, plan = study.config.replay, study.sites(harvest), transfer.plan
    intervention, strength = settled_edit(study, sites, plan, guarded.directions)
    if strength is not None:
        study.say(describe(strength))
        require_strength(strength)
    with apply_intervention(study.target.loaded, intervention) as report:
        study.say(f"replay edits {report}")
        edited = report.as_dict()
    dose = measure_dose(study, sites, intervention, strength)
    if dose is not None:
        study.say(describe_dose(dose))
        require_specific(dose, section.max_random_kl)
    assert intervention.means is not None
    return Replayed(
        plan,
        section.mode,
        section.scope,
        intervention.gamma,
        section.which,
        intervention.amounts,
        intervention.thresholds,
        intervention.max_norms,
        strength,
        dose,
        {name: (int(done), int(of)) for name, (done, of) in edited.items()},
        study.target.model_hash,
        study.target.config.model,
        {
            "donor": hash_weights(study.donor.loaded.model),
            "target": hash_weights(study.target.loaded.model),
        },
        study.target.config.architecture,
        intervention.directions,
        intervention.means,
        intervention.gates,
    )


REPLAY = Stage(
    "replay",
    Replayed,
    replay,
    needs=(Harvest, Transfer, Guarded),
    sources=("target",),
    config=("replay",),
)
