"""What a transfer does to its target, and how that was chosen: basis, layer, strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conceptbasis.evaluation.metrics import MISSING, format_number
from conceptbasis.report.html_tables import HtmlTable

_WORDS = {
    "ablate": "the component along the direction is removed",
    "affine": "the component along the direction is set to its mean where benign requests end",
    "add": "the direction is added",
    "raise": "what lies above most benign requests is pushed further along the direction",
    "orthogonalise": "what the weights write along the direction is removed",
}


def edit_facts(
    summary: Mapping[str, Any], results: Mapping[str, Any], provenance: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Names and sentences about the edit.

    Args:
        summary: `summary.json`.
        results: `result.json` by stage.
        provenance: `provenance.json` by stage; its settings say what was asked for.
    """
    facts = [("Basis", _basis(summary, _settings(provenance, "transfer").get("basis")))]
    layers = (results.get("replay") or {}).get("layers")
    facts.append(("Direction", _direction(summary, layers)))
    facts.append(("Edit", _edit(summary, _settings(provenance, "replay"))))
    return facts


def _settings(provenance: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (provenance.get(stage) or {}).get("config") or {}
    return found


def _basis(summary: Mapping[str, Any], wanted: str | None) -> str:
    if wanted != "auto":
        return f"{summary['basis']}, as asked for."
    return (
        f"{summary['basis']}, chosen by auto: the features of both sides (code_map) are taken "
        "unless the direct way to residuals (transported) agrees clearly better with the donor."
    )


def _direction(summary: Mapping[str, Any], layers: Sequence[int] | None) -> str:
    single = summary.get("single_layer")
    if single is None:
        return "each edited layer has a direction of its own."
    origin = [f" (from donor layer {d})" for t, d in summary["layer_map"] or [] if t == single]
    where = f" at layers {', '.join(map(str, layers))}" if layers else ""
    return (
        f"that of target layer {single}{''.join(origin)}, replayed{where}; the atoms of "
        "other layers are not in the edit."
    )


def _edit(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    mode, gamma = summary["mode"], summary["gamma"]
    strength = MISSING if gamma is None else gamma
    text = f"{mode} on {summary['scope']}, strength γ {strength}: {_WORDS.get(mode, mode)}"
    offset = settings.get("offset")
    if mode == "affine" and (gamma or 0) > 0 and offset is not None:
        text += f", less an offset of {offset} of their standard deviation"
    return f"{text}."


def basis_table(transfer: Mapping[str, Any] | None, single: int | None) -> HtmlTable | None:
    """Agreement of each basis by target layer, on the sites that bases and layers are chosen on."""
    rows = [row for row in (transfer or {}).get("layers") or [] if row.get("selection_by_basis")]
    if not rows:
        return None
    bases = list(rows[0]["selection_by_basis"])
    cells = [
        [
            f"{row['target']}{' (replayed)' if row['target'] == single else ''}",
            *(format_number(row["selection_by_basis"].get(basis)) for basis in bases),
        ]
        for row in rows
    ]
    caption = "Projection agreement by basis, on the sites that bases and layers are chosen on"
    return HtmlTable(caption, ["target layer", *bases], cells)
