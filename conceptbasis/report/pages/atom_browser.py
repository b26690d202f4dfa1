"""What the atom browser of the HTML report shows: one card per atom of the recipe, both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from conceptbasis.report.evidence import ambiguity_facts, facts, how_labelled, label_of, place_of
from conceptbasis.report.inspection import RecipeAtom, RecipeLayer
from conceptbasis.report.recipe_tables import span
from conceptbasis.report.table import MISSING, format_number
from conceptbasis.results.atoms import Context, Evidence

_MOST_WITH_CONTEXTS = 600  # beyond it a report of a deep model would grow past what a phone opens


@dataclass(frozen=True)
class CardContext:
    """A context as pieces of text, each with its level of shading."""

    place: str
    peak: str
    spans: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class CardSide:
    """One side of an atom: what it stands for, in facts and contexts."""

    name: str
    label: str
    how: str
    page: str | None
    facts: Sequence[tuple[str, str]]
    contexts: Sequence[CardContext]


@dataclass(frozen=True)
class Card:
    """One atom of the browser; `sort` holds what it can be sorted by."""

    layer: int
    latent: int
    target_latent: int | None
    label: str
    coefficient: str
    sort: Mapping[str, float]
    facts: Sequence[tuple[str, str]]
    sides: Sequence[CardSide]


def atom_cards(layers: Iterable[RecipeLayer]) -> list[Card]:
    """Cards of all atoms with evidence, the largest contribution first."""
    pairs = [(layer, atom) for layer in layers for atom in layer.donor_atoms]
    pairs.sort(key=lambda pair: -(pair[1].share or 0.0))
    return [
        _card(layer, atom, full=place < _MOST_WITH_CONTEXTS)
        for place, (layer, atom) in enumerate(pairs)
        if atom.evidence is not None
    ]


def _card(layer: RecipeLayer, atom: RecipeAtom, *, full: bool) -> Card:
    sides = (
        (f"Donor latent {atom.latent}, layer {layer.donor}", atom.evidence),
        (f"Target latent {atom.target_latent}, layer {layer.target}", atom.target_evidence),
    )
    return Card(
        layer.target,
        atom.latent,
        atom.target_latent,
        str(label_of(atom.evidence)),
        f"{atom.coefficient:+.2f}",
        {
            "share": atom.share or 0.0,
            "layer": -layer.target,
            "r": atom.r_heldout,
            "same": atom.words_shared or 0.0,
            "density": atom.density or 0.0,
        },
        _facts(atom),
        [_side(name, evidence, full=full) for name, evidence in sides if evidence],
    )


def _facts(atom: RecipeAtom) -> list[tuple[str, str]]:
    left = atom.leave_one_out
    return [
        ("share of the layer", format_number(atom.share)),
        ("95 %", span(atom.bounds) or MISSING),
        ("selection frequency", format_number(atom.frequency)),
        ("held-out r", format_number(atom.r_heldout)),
        ("its null", format_number(atom.null_quantile)),
        ("guard overlap", format_number(atom.guard_overlap)),
        ("words both sides have", format_number(atom.words_shared)),
        ("cosine without it", format_number(left.cosine if left else None)),
        ("agreement without it", f"{left.agreement:+.2f}" if left else MISSING),
        *ambiguity_facts(atom.ambiguity, atom.runner_up).items(),
    ]


def _side(name: str, evidence: Evidence, *, full: bool) -> CardSide:
    return CardSide(
        name,
        str(label_of(evidence)),
        how_labelled(evidence),
        evidence.page,
        [*facts(evidence, " · ").items(), ("fires at", f"{evidence.density:.2%} of sites")],
        [_context(c) for c in evidence.contexts] if full else [],
    )


def _context(context: Context) -> CardContext:
    """A context with neighbouring pieces of one level joined; spaces are not shaded."""
    pairs = []
    for level, piece in zip(context.levels, context.pieces, strict=True):
        word = piece.lstrip()
        pairs += [("0", piece[: len(piece) - len(word)]), (level, word)]
    grouped = groupby((pair for pair in pairs if pair[1]), key=lambda pair: pair[0])
    spans = [(int(level), "".join(text for _, text in group)) for level, group in grouped]
    return CardContext(place_of(context), f"{context.peak:.1f}", spans)
