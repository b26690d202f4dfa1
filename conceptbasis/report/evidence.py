"""Evidence of atoms for readers: joined to the recipe, without text that must stay hidden.

It reads `result.json` files only; no tensor library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptbasis.artifacts import PROVENANCE, RESULT, read_json

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
    return result


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
