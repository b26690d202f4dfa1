"""Short automatic labels for latents from their evidence, and what tells equal labels apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conceptbasis.interpret.texts import BEFORE_ANSWER, HIDDEN
from conceptbasis.results.atoms import Evidence

_N_WORDS = 3
_MAIN_SHARE = 0.5  # from here on a piece or a kind of text stands for the whole latent
_OTHER_SHARE = 0.25  # what any other kind may reach beside the main ones
_MAIN_KINDS = 2
_PLACE_BEFORE_ANSWER = "before the answer"


def make_label(evidence: Evidence) -> str:
    """A label of a few words: in which texts, at which place, beside which words it fires."""
    place = _place(evidence.fires_on)
    label = ", ".join(part for part in (_kinds(evidence.kinds), place) if part)
    words = [word for word, _ in evidence.words if place != f"“{word}”"][:_N_WORDS]
    if words:
        label += (": " if label else "") + ", ".join(words)
    if place == _PLACE_BEFORE_ANSWER and evidence.promoted:
        label += f" → {evidence.promoted[0]}"
    return label or "no clear evidence"


def _kinds(shares: Mapping[str, float]) -> str | None:
    """The one or two kinds of text in which it fires as a rule, if it seldom does in others."""
    main = sorted((k for k, s in shares.items() if s >= _MAIN_SHARE), key=lambda k: -shares[k])
    others = [share for kind, share in shares.items() if kind not in main]
    if not 1 <= len(main) <= _MAIN_KINDS or max(others, default=0.0) > _OTHER_SHARE:
        return None
    return " and ".join(kind.replace("_", " ") for kind in main)


def _place(fires_on: Sequence[tuple[str, float]]) -> str | None:
    if not fires_on or fires_on[0][1] < _MAIN_SHARE or fires_on[0][0] in ("", HIDDEN):
        return None
    piece = fires_on[0][0]
    return _PLACE_BEFORE_ANSWER if piece == BEFORE_ANSWER else f"“{piece}”"


def told_apart(evidences: Sequence[Evidence]) -> list[tuple[str, ...] | None]:
    """For latents of one layer, what differs between those that share a label.

    Args:
        evidences: Of one layer of one model.

    Returns:
        For each latent None if its label is its own, else what only it has: words, else pieces it
        fires on, else tokens it promotes; nothing where nothing differs.
    """
    groups: dict[str, list[Evidence]] = {}
    for evidence in evidences:
        groups.setdefault(evidence.label, []).append(evidence)
    found: list[tuple[str, ...] | None] = []
    for evidence in evidences:
        others = [e for e in groups[evidence.label] if e is not evidence]
        found.append(_only_here(evidence, others) if others else None)
    return found


def _only_here(evidence: Evidence, others: Sequence[Evidence]) -> tuple[str, ...]:
    for names in (_words, _pieces, _promoted):
        taken = {name for other in others for name in names(other)}
        own = [name for name in names(evidence) if name not in taken]
        if own:
            return tuple(own[:_N_WORDS])
    return ()


def _words(evidence: Evidence) -> list[str]:
    return [word for word, _ in evidence.words]


def _pieces(evidence: Evidence) -> list[str]:
    return [f"on “{piece}”" for piece, _ in evidence.fires_on]


def _promoted(evidence: Evidence) -> list[str]:
    return [f"promotes “{token}”" for token in evidence.promoted]


def shared_words(donor: Sequence[str], target: Sequence[str]) -> float | None:
    """|A ∩ B| / |A ∪ B| of the words that separate a latent in either model; None without any."""
    union = {*donor, *target}
    return len({*donor} & {*target}) / len(union) if union else None
