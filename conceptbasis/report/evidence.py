"""Evidence of atoms in words: labels, places of contexts, and what an atom is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from conceptbasis.report.table import MISSING, Label
from conceptbasis.results.atoms import Ambiguity, Context, Evidence, Flow, MeasuredFlow

_HIGHEST = 0.05
_THEMES = {"positive": "positive requests", "behavior": "the behavior itself"}
_SHOWN_SHARE, _SHOWN_SHARES = 0.01, 5


@dataclass(frozen=True)
class OwnEvidence(Evidence):
    """Evidence under a label of one's own.

    Args:
        automatic: The label that was made from the evidence.
    """

    automatic: str = ""


@dataclass(frozen=True)
class Side:
    """Evidence of one side of a layer, redacted unless text is asked for.

    Args:
        entries: The evidence.
        show_text: Whether hidden text is shown.
        own: Labels of one's own by latent.
    """

    entries: Sequence[Evidence]
    show_text: bool
    own: Mapping[int, str]

    def of(self, latent: int | None) -> Evidence | None:
        """The evidence of a latent, None without any."""
        found = next((e for e in self.entries if e.latent == latent), None)
        if found is not None and found.latent in self.own:
            label = {"label": self.own[found.latent], "automatic": str(label_of(found))}
            found = OwnEvidence(**{**vars(found), **label, "collides": False})
        if found is None or self.show_text:
            return found
        return replace(found, contexts=tuple(redact_context(c) for c in found.contexts))


@dataclass(frozen=True)
class ShownFlow:
    """A concept over layers, and what was measured without it and with it alone."""

    flow: Flow
    measured: MeasuredFlow | None

    def weight_at(self, layer: int) -> float:
        """What its atoms weigh at one target layer, 0 where it has none."""
        return float(sum(a.coefficient for a in self.flow.atoms if a.target == layer))


def redact_context(context: Context) -> Context:
    """A context whose text is replaced by its kind and topic word where it is hidden."""
    if not context.hidden:
        return context
    shown = f"[{context.kind.replace('_', ' ')}: {context.topic or 'redacted'}]"
    return replace(context, pieces=(shown,), levels="0")


def label_of(evidence: Evidence | None) -> Label | None:
    """An automatic label, with what tells it from others of the same name."""
    if evidence is None:
        return None
    apart = ", ".join(evidence.differs) or "nothing tells it apart"
    return Label(
        evidence.label,
        f"(shared label; {apart})" if evidence.collides else "",
        "(one template)" if evidence.template_bound else "",
    )


def how_labelled(evidence: Evidence) -> str:
    """Who made the label."""
    if isinstance(evidence, OwnEvidence):
        return f"your own label; automatic: {evidence.automatic}"
    return "automatic label"


def facts(evidence: Evidence, gap: str) -> dict[str, str]:
    """What is known of a latent, by name.

    Args:
        evidence: The evidence.
        gap: Between tokens that it promotes.
    """
    kinds = sorted(evidence.kinds.items(), key=lambda item: -item[1])
    return {
        "fires on": _shares((f"“{piece}”", share) for piece, share in evidence.fires_on),
        "in": _shares((kind.replace("_", " "), share) for kind, share in kinds),
        "words": ", ".join(word for word, _ in evidence.words) or MISSING,
        **_scope(evidence),
        "promotes": gap.join(evidence.promoted),
        "suppresses": gap.join(evidence.suppressed),
    }


def ambiguity_facts(found: Ambiguity | None, runner_up: Evidence | None) -> dict[str, str]:
    """Whether a translation could as well have been another, and what that one does."""
    if found is None:
        return {}
    if found.runner_up is None or found.gap is None:
        return {"other target latents": "none correlates"}
    rivals = ", ".join(map(str, found.rivals)) or "none"
    gap = f"r lower by {found.gap.value:.2f} [{found.gap.low:.2f}, {found.gap.high:.2f}]"
    label = f" ({label_of(runner_up)})" if runner_up else ""
    same = f"cosine with the best {found.cosine:.2f}" if found.cosine is not None else MISSING
    return {
        "as good within noise": f"{rivals} of the next {found.n_compared} target latents",
        "runner-up": f"{found.runner_up}{label}: {gap}; {same}",
    }


def _shares(pairs: Iterable[tuple[str, float]]) -> str:
    shown = [f"{name} {share:.2f}" for name, share in pairs if share >= _SHOWN_SHARE]
    return ", ".join(shown[:_SHOWN_SHARES]) or MISSING


def _scope(evidence: Evidence) -> dict[str, str]:
    """What it is about, and over how many wordings and topics it spreads."""
    found = {}
    themes = [
        f"{_THEMES.get(name, name)} {entry.share:.2f} (text {entry.expected:.2f})"
        for name, entry in evidence.about.items()
        if entry is not None
    ]
    if themes:
        found["about"] = ", ".join(themes)
    for key, spread in (("templates", evidence.templates), ("nouns", evidence.nouns)):
        if spread is not None:
            name = f" “{spread.name}”" if spread.name else ""
            found[key] = (
                f"as many as {spread.effective:.1f} of {spread.n} (evenly {spread.even:.1f}); "
                f"most{name} {spread.largest:.2f}"
            )
    return found


def place_of(context: Context) -> str:
    """Where a context stands among all texts in which the latent fires."""
    share = 1 - context.quantile
    return "highest" if share < _HIGHEST else f"top {share:.0%}"
