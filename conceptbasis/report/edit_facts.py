"""What a transfer does to its target, and how that was chosen: route, direction, edit."""

from __future__ import annotations

from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.table import MISSING
from conceptbasis.results.summary import Summary

_WORDS = {
    "ablate": "the component along the direction is removed",
    "affine": "the component along the direction is set to its mean where benign requests end",
    "cap": "the component along the direction is brought down to its benign mean if it is larger",
    "add": "the direction is added",
    "raise": "what lies above most benign requests is pushed further along the direction",
    "orthogonalise": "what the weights write along the direction is removed",
}


def edit_facts(summary: Summary, run: RunFolder) -> list[tuple[str, str]]:
    """Names and sentences about the edit; the settings say what was asked for."""
    return [
        ("Route", _route(summary, run.setting("transfer", "route"))),
        ("Direction", _direction(summary)),
        ("Edit", _edit(summary)),
    ]


def _route(summary: Summary, wanted: object) -> str:
    most = max(summary.recipe.n_target_atoms_per_layer, default=0)
    named = (
        f"The edit is written with up to {most} target latents a layer."
        if most
        else "The edit names no target latent; the matches are shown for reading."
    )
    if wanted != "auto":
        return f"{summary.route}, as asked for. {named}"
    return (
        f"{summary.route}, chosen by auto: the route over latents of both models (code_map) is "
        "used unless the direct route to residuals (transported) agrees clearly better with the "
        f"donor. {named}"
    )


def _direction(summary: Summary) -> str:
    shared = summary.plan.shared
    if shared is None:
        return "each edited layer has a direction of its own."
    origin = "".join(f" (from donor layer {d})" for t, d in summary.layer_map if t == shared)
    layers = ", ".join(map(str, summary.plan.layers))
    return (
        f"the direction of target layer {shared}{origin} is used at layers {layers}; the atoms of "
        "other layers are not in the edit."
    )


def _edit(summary: Summary) -> str:
    mode, gamma = summary.mode, summary.gamma
    strength = MISSING if gamma is None else gamma
    text = f"{mode} on {summary.scope}, strength γ {strength}: {_WORDS.get(mode, mode)}"
    if summary.offset is not None:
        text += f", less an offset of {summary.offset:g} of their standard deviation"
    return f"{text}."
