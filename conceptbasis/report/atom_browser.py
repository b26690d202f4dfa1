"""What the atom browser of the HTML report shows: one card per atom of the recipe, both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from conceptbasis.evaluation.metrics import MISSING, format_number
from conceptbasis.report.evidence import is_template_bound, place_of, scope_facts
from conceptbasis.report.recipe_tables import span

_MOST_WITH_CONTEXTS = 600  # beyond it a report of a deep model would grow past what a phone opens
_SHOWN_SHARE = 0.01
_SHOWN_SHARES = 5


def atom_cards(layers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Cards of all atoms, the largest contribution first.

    Args:
        layers: Layers of `inspection.read_recipe`, with evidence.
    """
    pairs = [(layer, atom) for layer in layers for atom in layer["donor_atoms"]]
    pairs.sort(key=lambda pair: -(pair[1]["share"] or 0.0))
    return [
        _card(layer, atom, full=place < _MOST_WITH_CONTEXTS)
        for place, (layer, atom) in enumerate(pairs)
        if atom["evidence"] is not None
    ]


def _card(layer: Mapping[str, Any], atom: Mapping[str, Any], *, full: bool) -> dict[str, Any]:
    donor = f"Donor feature {atom['feature']}, layer {layer['donor']}"
    target = f"Target feature {atom['target_feature']}, layer {layer['target']}"
    sides = [(donor, atom["evidence"]), (target, atom["target_evidence"])]
    return {
        "layer": layer["target"],
        "feature": atom["feature"],
        "target_feature": atom["target_feature"],
        "label": _label(atom["evidence"]),
        "coefficient": f"{atom['coefficient']:+.2f}",
        "sort": {
            "share": atom["share"] or 0.0,
            "layer": -layer["target"],
            "r": atom.get("r_heldout") or 0.0,
            "same": atom["words_shared"] or 0.0,
            "density": atom["density"] or 0.0,
        },
        "facts": _facts(atom),
        "sides": [_side(name, evidence, full=full) for name, evidence in sides if evidence],
    }


def _label(evidence: Mapping[str, Any]) -> str:
    label: str = evidence["label"]
    if evidence["collides"]:
        apart = ", ".join(evidence["differs"]) or "nothing tells it apart"
        label += f" (shared label; {apart})"
    return f"{label} (one template)" if is_template_bound(evidence) else label


def _facts(atom: Mapping[str, Any]) -> list[tuple[str, str]]:
    left = atom["leave_one_out"] or {}
    return [
        ("share of the layer", format_number(atom["share"])),
        ("95 %", span(atom["low"], atom["high"])),
        ("selection frequency", format_number(atom["frequency"])),
        ("held-out r", format_number(atom.get("r_heldout"))),
        ("its null", format_number(atom.get("null_quantile"))),
        ("guard overlap", format_number(atom["guard_overlap"])),
        ("words both sides have", format_number(atom["words_shared"])),
        ("cosine without it", format_number(left.get("cosine"))),
        ("agreement without it", _change(left.get("agreement"))),
    ]


def _change(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2f}"


def _side(name: str, evidence: Mapping[str, Any], *, full: bool) -> dict[str, Any]:
    kinds = sorted(evidence["kinds"].items(), key=lambda item: -item[1])
    return {
        "name": name,
        "label": _label(evidence),
        "page": evidence["page"],
        "facts": [
            ("fires on", _shares((f"“{piece}”", share) for piece, share in evidence["fires_on"])),
            ("in", _shares((kind.replace("_", " "), share) for kind, share in kinds)),
            ("words", ", ".join(word for word, _ in evidence["words"]) or MISSING),
            *scope_facts(evidence).items(),
            ("promotes", " · ".join(evidence["promoted"])),
            ("suppresses", " · ".join(evidence["suppressed"])),
            ("fires at", f"{evidence['density']:.2%} of sites"),
        ],
        "contexts": [_context(c) for c in evidence["contexts"]] if full else [],
    }


def _shares(pairs: Iterable[tuple[str, float]]) -> str:
    shown = [f"{name} {share:.2f}" for name, share in pairs if share >= _SHOWN_SHARE]
    return ", ".join(shown[:_SHOWN_SHARES]) or MISSING


def _context(context: Mapping[str, Any]) -> dict[str, Any]:
    """A context with neighbouring pieces of one level joined; spaces are not shaded."""
    pairs = []
    for level, piece in zip(context["levels"], context["pieces"], strict=True):
        word = piece.lstrip()
        pairs += [("0", piece[: len(piece) - len(word)]), (level, word)]
    grouped = groupby((pair for pair in pairs if pair[1]), key=lambda pair: pair[0])
    return {
        "place": place_of(context),
        "peak": f"{context['peak']:.1f}",
        "spans": [(int(level), "".join(text for _, text in group)) for level, group in grouped],
    }
