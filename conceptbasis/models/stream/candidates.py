"""The published selection as a search: the most promising candidates are measured first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.core.directions.difference import Selection, select_direction
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.centred import Stream, centred_ablation
from conceptbasis.models.stream.first_token import (
    behavior_score,
    find_behavior_tokens,
    first_token_kl,
)
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.text.generation import first_token_logits

Progress = Callable[[int, int], None]

N_MEASURED = 20
"""Candidates that are measured at a time."""

N_ROUNDS = 2
"""Rounds, at all places in turn, after which a larger bound on KL is tried."""

LARGEST_KL = 0.8
"""Where no candidate holds the bound on KL, it is doubled up to this one, in nats."""


@dataclass(frozen=True)
class Bench:
    """What all candidates are measured on.

    Args:
        loaded: The model.
        stream: Means and sink bounds of the ablation.
        positive: Prompts that show the behavior.
        negative: Prompts that do not.
        base_negative: First-token logits of the untouched model on the latter.
        tokens: First tokens of the behavior.
    """

    loaded: LoadedModel
    stream: Stream
    positive: list[str]
    negative: list[str]
    base_negative: Float[Tensor, "n d_vocab"]
    tokens: Int[Tensor, " n_tokens"]

    def score(
        self, unit: Float[Tensor, " d_model"], norm: float, layer: int, layers: range
    ) -> Float[Tensor, " 3"]:
        """Bypass score, induce score and KL of one candidate.

        Args:
            unit: Its direction.
            norm: How much of it is added, at its own layer, to induce the behavior.
            layer: Where it comes from.
            layers: Where it is ablated.
        """
        loaded = self.loaded
        with intervene(loaded, centred_ablation(unit, self.stream, layers=layers)):
            bypass = behavior_score(first_token_logits(loaded, self.positive), self.tokens)
            kl = first_token_kl(self.base_negative, first_token_logits(loaded, self.negative))
        with intervene(loaded, [Edit(layer, unit, "add", amount=norm)]):
            induce = behavior_score(first_token_logits(loaded, self.negative), self.tokens)
        return torch.stack([score.mean().float() for score in (bypass, induce, kl)])


def make_bench(
    loaded: LoadedModel, stream: Stream, positive: Sequence[str], negative: Sequence[str]
) -> Bench:
    """Reads the untouched model and finds the behavior's first tokens.

    Args:
        loaded: The model.
        stream: Means and sink bounds of the ablation.
        positive: Prompts that show the behavior.
        negative: Prompts that do not.
    """
    before = [first_token_logits(loaded, list(prompts)) for prompts in (positive, negative)]
    tokens = find_behavior_tokens(*before)
    return Bench(loaded, stream, list(positive), list(negative), before[1], tokens)


@dataclass
class Candidates:
    """Candidate directions, measured one after another, all ablated at the same layers.

    Args:
        bench: What they are measured on.
        directions: Their unit directions.
        norms: Norms of the differences that they come from.
        layers: Where each is ablated.
        layer_fraction: Candidates at or above this share of the layers are out.
        left: Position and layer of those to be measured, the most promising first.
    """

    bench: Bench
    directions: Float[Tensor, "n_positions n_layers d_model"]
    norms: Float[Tensor, "n_positions n_layers"]
    layers: range
    layer_fraction: float
    left: Sequence[tuple[int, int]]
    scores: Float[Tensor, "3 n_positions n_layers"] = field(init=False)
    measured: Bool[Tensor, "n_positions n_layers"] = field(init=False)

    def __post_init__(self) -> None:
        self.scores = torch.full((3, *self.norms.shape), torch.nan)
        self.measured = torch.zeros_like(self.norms, dtype=torch.bool)

    def measure(self, n: int, bound: float, progress: Progress) -> Selection:
        """Measures the next candidates, unless one holds the bound already."""
        selection = self.pick(bound)
        if selection.found:
            return selection
        some, self.left = self.left[:n], self.left[n:]
        for done, place in enumerate(some, 1):
            unit, norm = self.directions[place], float(self.norms[place])
            self.scores[:, *place] = self.bench.score(unit, norm, place[1], self.layers)
            self.measured[place] = True
            progress(done, len(some))
        return self.pick(bound)

    def pick(self, bound: float) -> Selection:
        """The published pick among what is measured, under a bound on KL."""
        return select_direction(
            *self.scores,
            measured=self.measured,
            max_kl=bound,
            layer_fraction=self.layer_fraction,
        )


def search(
    places: Sequence[Candidates], max_kl: float, n_measured: int, progress: Progress
) -> tuple[Candidates, Selection]:
    """The first place where a candidate holds the bound, else the first for its doublings.

    Args:
        places: The same candidates, ablated at some layers or at others; the earlier is preferred.
        max_kl: The bound, in nats.
        n_measured: Candidates of a round.
        progress: Told how many are measured, of how many up to the end of this round.

    Returns:
        The place and its selection; those of the first, not found, where none passes anywhere.
    """
    bounds = [max_kl]
    while bounds[-1] < LARGEST_KL:
        bounds.append(min(2 * bounds[-1], LARGEST_KL))
    rest = places[0].norms.numel()
    for number, n in enumerate([*[n_measured] * N_ROUNDS, rest], 1):
        for place in places:
            selection = place.measure(n, max_kl, _after(places, progress))
            if selection.found:
                return place, selection
        for bound in bounds[1:] if number >= N_ROUNDS else ():
            for place in places:
                selection = place.pick(bound)
                if selection.found:
                    return place, selection
    return places[0], places[0].pick(bounds[-1])


def _after(places: Sequence[Candidates], progress: Progress) -> Progress:
    """Counts on from what has been measured."""
    before = sum(int(place.measured.sum()) for place in places)
    return lambda done, of: progress(before + done, before + of)
