"""Tables of the report about the whole recipe: how stable it is, and its concepts over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conceptbasis.metrics import MISSING, Interval, format_interval, format_number, interval, rate
from conceptbasis.report.html_tables import HtmlTable

_MOST_LINES = 24
_STABILITY = {
    "donor_jaccard": "donor atoms shared",
    "target_jaccard": "target atoms shared",
    "donor_cosine": "cosine in the donor",
    "target_cosine": "cosine in the target",
}


def stability_table(stability: Mapping[str, Any] | None) -> HtmlTable | None:
    """How alike the recipes of two halves of the prompts are, layer by layer."""
    if not stability:
        return None
    named = [
        (f"{row['target']} from {row['donor']}", row)
        for row in sorted(stability["layers"], key=_at)
    ]
    rows = [
        [name, *(_spread(row[figure]) for figure in _STABILITY)]
        for name, row in [*named, ("all", stability["all_layers"])]
    ]
    caption = (
        f"Recipes of two halves of the direction prompts, {stability['n_splits']} splits by noun: "
        "atoms in both of those in either, and cosine of the directions; mean, least and most"
    )
    return HtmlTable(caption, ["target layer", *_STABILITY.values()], rows, stack=True)


def _at(row: Mapping[str, Any]) -> int:
    found: int = row["target"]
    return found


def _spread(entry: Mapping[str, float] | None) -> str:
    if entry is None:
        return MISSING
    return format_interval(Interval(entry["mean"], entry["least"], entry["most"]))


def lines_table(lines: Sequence[Mapping[str, Any]] | None) -> HtmlTable | None:
    """Concepts over layers, the largest first, with what each does to refusal where measured."""
    if not lines:
        return None
    measured = any(line.get("refusal") for line in lines)
    rows = [
        [
            f"{line['contribution']:.1f}",
            line["label"],
            ", ".join(f"{atom['target']}: {atom['feature']}" for atom in line["atoms"]),
            _least_similarity(line["atoms"]),
            *(_effect(line.get("refusal")) if measured else ()),
        ]
        for line in lines[:_MOST_LINES]
    ]
    head = ["Σ |coef|", "automatic label", "target layer: donor feature", "least cosine"]
    if measured:
        head += ["refusal without it", "change", "refusal with it alone"]
    caption = f"Concepts over layers, the {len(rows)} largest of {len(lines)} lines"
    return HtmlTable(caption, head, rows, text=frozenset({1, 2}))


def _least_similarity(atoms: Sequence[Mapping[str, Any]]) -> str:
    steps = [atom["similarity"] for atom in atoms if atom["similarity"] is not None]
    return format_number(min(steps)) if steps else MISSING


def _effect(refusal: Mapping[str, Any] | None) -> list[str]:
    if not refusal:
        return [MISSING] * 3
    return [
        format_interval(rate(refusal["without"]["refusal"])),
        format_interval(interval(refusal["without"]["change"])),
        format_interval(rate(refusal["only"]["refusal"])),
    ]
