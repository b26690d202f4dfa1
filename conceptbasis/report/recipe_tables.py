"""Tables of the report about the recipe: its atoms, its stability, its concepts over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conceptbasis.evaluation.metrics import (
    MISSING,
    Interval,
    format_interval,
    format_number,
    interval,
    rate,
)
from conceptbasis.report.html_tables import HtmlTable
from conceptbasis.report.inspection import weight_at

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


def lines_table(
    lines: Sequence[Mapping[str, Any]] | None,
    single: int | None = None,
    labels: Mapping[int, str] | None = None,
) -> HtmlTable | None:
    """Concepts over layers, as they are ordered, with what each does to refusal where measured.

    Args:
        lines: As stage `atoms` found them.
        single: The target layer whose direction is replayed, None where each layer has its own.
        labels: Labels of the donor features of that layer; a line takes its own from its largest
            atom, which may lie elsewhere.
    """
    if not lines:
        return None
    measured = any(line.get("refusal") for line in lines)
    rows = [
        [
            _label_of_line(line, single, labels or {}),
            f"{line['contribution']:.1f}",
            *(() if single is None else (_at_layer(line["atoms"], single),)),
            ", ".join(f"{atom['target']}: {atom['feature']}" for atom in line["atoms"]),
            _least_similarity(line["atoms"]),
            *(_effect(line.get("refusal")) if measured else ()),
        ]
        for line in lines[:_MOST_LINES]
    ]
    here = [] if single is None else [f"coefficient at layer {single}"]
    path = "target layer: donor feature"
    head = ["automatic label", "Σ |coef|", *here, path, "least cosine"]
    if measured:
        head += ["refusal without it", "change", "refusal with it alone"]
    caption = f"Concepts over layers, the first {len(rows)} of {len(lines)} lines"
    return HtmlTable(caption, head, rows, text=frozenset({head.index(path)}), stack=True)


def labels_at(layers: Sequence[Mapping[str, Any]], single: int | None) -> dict[int, str]:
    """Automatic labels of the donor features of one target layer."""
    return {
        atom["feature"]: atom["evidence"]["label"]
        for layer in layers
        if layer["target"] == single
        for atom in layer["donor_atoms"]
        if atom["evidence"]
    }


def _label_of_line(line: Mapping[str, Any], single: int | None, labels: Mapping[int, str]) -> str:
    """The label of a line, and that of its atom at the replayed layer where they differ."""
    label: str = line["label"]
    here = [labels.get(atom["feature"]) for atom in line["atoms"] if atom["target"] == single]
    other = [found for found in here if found and found != label]
    return f"{label} (at layer {single}: {'; '.join(other)})" if other else label


def _at_layer(atoms: Sequence[Mapping[str, Any]], layer: int) -> str:
    """What a concept's atoms weigh at one target layer, a dash where it has none."""
    weight = weight_at(atoms, layer)
    return f"{weight:+.2f}" if weight else MISSING


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


def layer_tables(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Both sides of a layer of the recipe; `layer` is one of `inspection.read_recipe`."""
    atoms = [
        [
            str(atom["feature"]),
            f"{atom['coefficient']:+.3f}",
            span(atom["low"], atom["high"]),
            format_number(atom["share"]),
            format_number(atom["frequency"]) + (" unstable" if atom["unstable"] else ""),
            _density(atom["density"]),
            str(atom["target_feature"]) if atom.get("target_feature") is not None else MISSING,
            format_number(atom.get("r_heldout")),
            format_number(atom.get("null_quantile")),
            _label(atom["evidence"]),
        ]
        for atom in layer["donor_atoms"]
    ]
    rebuilt = [
        [
            str(a["feature"]),
            f"{a['coefficient']:+.3f}",
            format_number(a["share"]),
            _density(a.get("density")),
            _label(a["evidence"]),
        ]
        for a in layer["target_atoms"]
    ]
    head = ["donor feature", "coefficient", "95 %", "share", "frequency", "density"]
    head += ["best match", "held-out r", "null", "automatic label"]
    target_head = ["target feature", "coefficient", "share", "density", "automatic label"]
    where = f"target layer {layer['target']}"
    return {
        "target": layer["target"],
        "donor": layer["donor"],
        "donor_count": len(atoms),
        "target_count": len(rebuilt),
        "atoms": HtmlTable(f"Donor atoms behind {where}", head, atoms, frozenset({9}), stack=True),
        "rebuilt": HtmlTable(
            f"Target atoms of {where}", target_head, rebuilt, frozenset({4}), stack=True
        )
        if rebuilt
        else None,
    }


def span(low: float | None, high: float | None) -> str:
    """Both ends of an interval, or a dash."""
    return MISSING if low is None or high is None else f"{low:+.3f}, {high:+.3f}"


def _label(evidence: Mapping[str, Any] | None) -> str:
    return MISSING if evidence is None else evidence["label"]


def _density(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1e}"
