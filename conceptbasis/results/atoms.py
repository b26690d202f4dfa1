"""What stages `atoms`, `stability` and `flows` leave: what a recipe stands for, how firm it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.results.conditions import ConditionFigures


@dataclass(frozen=True)
class Context:
    """A window of a text around the site at which a latent fires most.

    Args:
        quantile: Place of its activation among all texts.
        peak: Activation at the highest site.
        kind: Class of the text.
        topic: Its topic word.
        hidden: Whether it shows how somebody asks for something that is redacted.
        pieces: Tokens of the window.
        levels: One digit of shading for each piece.
    """

    quantile: float
    peak: float
    kind: str
    topic: str | None
    hidden: bool
    pieces: tuple[str, ...]
    levels: str


@dataclass(frozen=True)
class Spread:
    """How a latent's activation spreads over templates or nouns."""

    n: int
    effective: float
    even: float
    largest: float
    largest_expected: float
    name: str | None


@dataclass(frozen=True)
class Share:
    """Share of a latent's activation in some texts, beside the share of their sites."""

    share: float
    expected: float


@dataclass(frozen=True)
class Evidence:
    """What a latent stands for, from where it fires.

    Args:
        latent: Its number in the SAE.
        label: A short label.
        density: Share of shared sites at which it fires.
        fires_on: Pieces with their share of its activation.
        words: Words that tell its texts apart, with z scores.
        kinds: Share of each class of texts in which it fires.
        templates: Spread over templates, None without any.
        nouns: Spread over topic words, None without any.
        about: By theme, its share of activation; None where it never fires.
        template_bound: Whether one template holds most of its activation.
        promoted: Tokens its decoder row promotes through the unembedding.
        suppressed: Tokens it suppresses.
        contexts: Texts in which it fires.
        page: A public page about it, or None.
        collides: Whether another latent of the recipe has the same label.
        differs: Words that tell it from that one.
    """

    latent: int
    label: str
    density: float
    fires_on: tuple[tuple[str, float], ...]
    words: tuple[tuple[str, float], ...]
    kinds: Mapping[str, float]
    templates: Spread | None
    nouns: Spread | None
    about: Mapping[str, Share | None]
    template_bound: bool | None
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]
    contexts: tuple[Context, ...]
    page: str | None
    collides: bool
    differs: tuple[str, ...]


@dataclass(frozen=True)
class LeaveOneOut:
    """What leaving one atom out changes of a layer's rebuilt direction."""

    cosine: float
    agreement: float


@dataclass(frozen=True)
class Ambiguity:
    """How the best match of an atom stands beside the next best target latents.

    Args:
        n_compared: Next best latents that were compared; those of a positive correlation.
        rivals: Those that cannot be told from the best: the 95 % interval of how much less they
            correlate, on sites that nothing was chosen on, reaches 0.
        runner_up: The next best where matches are chosen; None without any.
        gap: By how much it correlates less than the best.
        cosine: Of its decoder row with that of the best: near 1, both write the same.
    """

    n_compared: int
    rivals: tuple[int, ...]
    runner_up: int | None
    gap: Interval | None
    cosine: float | None


@dataclass(frozen=True)
class AtomPair:
    """An atom of the recipe with its match.

    Args:
        latent: Donor latent.
        target_latent: Its best match, None without one.
        guard_overlap: Energy of the match's decoder row in the largest guard that was tried.
        words_shared: Share of their words that both have; None without any.
        leave_one_out: None where it was not measured.
        ambiguity: None without a match, and in older runs.
    """

    latent: int
    target_latent: int | None
    guard_overlap: float | None
    words_shared: float | None
    leave_one_out: LeaveOneOut | None
    ambiguity: Ambiguity | None = None


@dataclass(frozen=True)
class LayerAtoms:
    """Evidence of one layer pair: the recipe's pairs, and the latents of both sides."""

    target: int
    donor: int
    atoms: tuple[AtomPair, ...]
    donor_latents: tuple[Evidence, ...]
    target_latents: tuple[Evidence, ...]


@dataclass(frozen=True)
class FlowAtom:
    """A donor atom on a flow, with the cosine of its decoder row to the one before."""

    target: int
    donor: int
    latent: int
    coefficient: float
    similarity: float | None


@dataclass(frozen=True)
class Flow:
    """One concept of the recipe, traced over layers by its decoder rows."""

    label: str
    contribution: float
    atoms: tuple[FlowAtom, ...]


@dataclass(frozen=True)
class Atoms:
    """Evidence of every layer, and the flows, largest contribution first."""

    layers: tuple[LayerAtoms, ...]
    flows: tuple[Flow, ...]


@dataclass(frozen=True)
class Range:
    """Mean, least and most over splits."""

    mean: float
    least: float
    most: float


@dataclass(frozen=True)
class Halves:
    """How alike the recipes of two halves of the prompts are, on both sides."""

    donor_jaccard: Range | None
    target_jaccard: Range | None
    donor_cosine: Range | None
    target_cosine: Range | None


@dataclass(frozen=True)
class LayerHalves:
    """`Halves` of one layer pair, over the splits that gave recipes."""

    target: int
    donor: int
    n_splits: int
    halves: Halves


@dataclass(frozen=True)
class Stability:
    """Whether other prompts would have given the same recipe."""

    n_splits: int
    layers: tuple[LayerHalves, ...]
    all_layers: Halves


@dataclass(frozen=True)
class FlowEffect:
    """What a part of the recipe does.

    Args:
        figures: Of the condition.
        change: Paired change of the behavior's rate, None where no pair could be scored.
    """

    figures: ConditionFigures
    change: Interval | None


@dataclass(frozen=True)
class MeasuredFlow:
    """The behavior without a flow, and with it alone."""

    flow: int
    label: str
    without: FlowEffect
    only: FlowEffect


@dataclass(frozen=True)
class FlowEffects:
    """Which concept of the recipe takes the behavior away."""

    untouched: ConditionFigures
    transfer: ConditionFigures
    flows: tuple[MeasuredFlow, ...]
