"""Evidence of atoms for readers: joined to the recipe, without text that must stay hidden.

It reads `result.json` files only; no tensor library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptbasis.runs.files import read_json
from conceptbasis.runs.stage import PROVENANCE, RESULT

_HIGHEST = 0.05
_PAIR = ("guard_overlap", "words_shared", "leave_one_out")


def read_evidence(folder: Path, *, show_text: bool = False) -> dict[str, Any] | None:
    """The result of stage `atoms`, redacted.

    Args:
        folder: A run folder.
        show_text: Whether contexts that show a harmful request keep their text. For the screen
            of the person who holds the run; never for anything that is shared or logged.

    Returns:
        None for a run without that stage: one that was declined, or of an older version.
    """
    if not (folder / "atoms" / PROVENANCE).exists():
        return None
    result: dict[str, Any] = read_json(folder / "atoms" / RESULT, ("layers", "lines"))
    if not show_text:
        for layer in result["layers"]:
            for evidence in (*layer["donor_features"], *layer["target_features"]):
                evidence["contexts"] = [redact_context(c) for c in evidence["contexts"]]
    _join_refusal(folder, result["lines"])
    return result


def _join_refusal(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Adds to each line what stage `lines` measured of refusal without it and with it alone."""
    measured = {}
    if (folder / "lines" / PROVENANCE).exists():
        rows = read_json(folder / "lines" / RESULT, ("lines",))["lines"]
        measured = {row["line"]: {key: row[key] for key in ("without", "only")} for row in rows}
    for place, line in enumerate(lines):
        line["refusal"] = measured.get(place)


def scope_facts(evidence: Mapping[str, Any]) -> dict[str, str]:
    """What an atom is about in words: its topics, and over how many wordings it spreads."""
    found = {}
    parts = [
        f"{name} {entry['share']:.2f} (text {entry['expected']:.2f})"
        for name, entry in (evidence.get("about") or {}).items()
        if entry is not None
    ]
    if parts:
        found["about"] = ", ".join(parts)
    for key in ("templates", "nouns"):
        spread = evidence.get(key)
        if spread:
            name = f" “{spread['name']}”" if spread["name"] else ""
            found[key] = (
                f"as many as {spread['effective']:.1f} of {spread['n']} (evenly "
                f"{spread['even']:.1f}); most{name} {spread['largest']:.2f}"
            )
    return found


def is_template_bound(evidence: Mapping[str, Any] | None) -> bool:
    """Whether one template holds most of the activation of a feature."""
    return bool(evidence and evidence.get("template_bound"))


def redact_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """A context whose text is replaced by its topic word where it is hidden."""
    if not context["hidden"]:
        return dict(context)
    shown = f"[harmful request: {context['topic'] or 'redacted'}]"
    return {**context, "pieces": [shown], "levels": "0"}


def place_of(context: Mapping[str, Any]) -> str:
    """Where a context stands among all texts in which the feature fires."""
    share = 1 - context["quantile"]
    return "highest" if share < _HIGHEST else f"top {share:.0%}"


def join_evidence(layers: list[dict[str, Any]], evidence: Mapping[str, Any] | None) -> None:
    """Adds to each atom of `recipe_layers` what stage `atoms` found, or None.

    Donor atoms get `evidence`, `target_evidence` and the figures of the pair; target atoms get
    `evidence`.
    """
    found = {row["target"]: row for row in evidence["layers"]} if evidence else {}
    for layer in layers:
        row = found.get(layer["target"], {})
        donor, target = (_by_feature(row.get(f"{s}_features")) for s in ("donor", "target"))
        pairs = _by_feature(row.get("atoms"))
        for atom in layer["donor_atoms"]:
            pair = pairs.get(atom["feature"], {})
            atom |= {key: pair.get(key) for key in _PAIR}
            atom["evidence"] = donor.get(atom["feature"])
            atom["target_evidence"] = target.get(atom.get("target_feature"))
        for atom in layer["target_atoms"]:
            atom["evidence"] = target.get(atom["feature"])


def _by_feature(entries: Any) -> dict[Any, Any]:
    return {entry["feature"]: entry for entry in entries or ()}
