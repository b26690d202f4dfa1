"""Benign behaviors of the target under an edit: what is seen before anything positive is asked.

A proxy transfer sends a benign behavior of the donor through the whole path. The neighbour effect
puts the transferred intervention itself on requests that look like the behavior and are benign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from conceptbasis.config.budgets import budget_allows
from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.data.prompts import Concept
from conceptbasis.edits.intervention import Intervention, apply_intervention, strengthens
from conceptbasis.errors import CoverageError, NumericsError
from conceptbasis.methods.concepts import transfer_contrast
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.models.stream.first_token import behavior_score, find_behavior_tokens
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.native import end_activations
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Proxy
from conceptbasis.results.layers import LayerPair, LayerPlan
from conceptbasis.results.recipe import Transfer
from conceptbasis.study.concepts import allowed_concepts
from conceptbasis.study.study import Study

_MIN_SCORE_GAP = 2.0
"""Log-odds by which a concept must move the first answer token to count as a behavior."""


def measure_proxies(rebuilder: Rebuilder, transfer: Transfer) -> list[Proxy]:
    """Sends benign behaviors through the transfer and says how much of each it removed.

    A concept serves as a proxy if it moves the target's first answer token. Success is the fall of
    that token's log-odds under the transferred direction at the layers that the run edits, as a
    share of the fall under the target's own direction for the same concept at all mapped layers.

    Args:
        rebuilder: The way into the target.
        transfer: Route, layer map and plan.
    """
    study = rebuilder.study
    found: list[Proxy] = []
    route = _ProxyRoute(study, rebuilder, transfer)
    n_proxies = study.config.forecast.n_proxies
    with study.reporter.bar("proxy transfers") as advance:
        candidates = _candidates(study)
        for number, concept in enumerate(candidates):
            try:
                proxy = _proxy(route, concept, number)
            except (CoverageError, NumericsError):
                # Nothing of this concept is matched: as a proxy transfer that is a failure.
                proxy = Proxy(concept.name, 0.0)
            if proxy is not None:
                found.append(proxy)
            advance(number + 1, len(candidates), f"{len(found)} of {n_proxies} found")
            if len(found) == n_proxies:
                break
    return found


def _candidates(study: Study) -> list[Concept]:
    """Benign concepts, those closest to the behavior (budget B0d) first."""
    benign = [c for c in allowed_concepts(study) if budget_allows("B0d", c.budget)]
    return sorted(benign, key=lambda c: (c.budget == "B0", c.name))


@dataclass(frozen=True)
class _ProxyRoute:
    """How a benign behavior is taken out of the target: as the transfer takes out its own."""

    study: Study
    rebuilder: Rebuilder
    transfer: Transfer

    @property
    def mapped(self) -> LayerPlan:
        """The plan of the transfer, at all mapped layers."""
        layers = [target for target, _ in self.transfer.layer_map]
        if self.study.config.replay.directions == "per_layer":
            return LayerPlan.per_layer(layers)
        return LayerPlan.single(layers, self.transfer.plan.sources[0])

    @property
    def pairs(self) -> list[LayerPair]:
        """The layer pairs whose directions are replayed."""
        return [pair for pair in self.transfer.layer_map if pair[0] in self.mapped.sources]

    def own_edits(self, positive: list[str], negative: list[str]) -> list[Edit]:
        """Along the target's own directions of the behavior."""
        a = end_activations(self.study.target.loaded, positive)[-1]
        b = end_activations(self.study.target.loaded, negative)[-1]
        return self._edits({t: difference_of_means(a[t], b[t]).unit for t, _ in self.pairs})

    def transferred_edits(self, positive: list[str], negative: list[str], n: int) -> list[Edit]:
        """Along the directions that the donor's behavior gives, at the edited layers."""
        directions = transfer_contrast(
            self.rebuilder, self.transfer.route, self.pairs, positive, negative, ("proxy", n)
        )
        edited = self.transfer.plan.layers
        return [edit for edit in self._edits(directions) if edit.layer in edited]

    def _edits(self, directions: Mapping[int, Tensor]) -> list[Edit]:
        source = self.mapped.source
        sites, replay = self.rebuilder.sites, self.study.config.replay
        centred = replay.mode in ("affine", "cap")
        return [
            Edit(
                layer,
                directions[own],
                "affine" if centred else "ablate",
                mean=sites.centre(layer, replay.centre) if centred else None,
                max_norm=sites.sink_bound(layer, replay.sink_ratio),
            )
            for layer, own in source
            if own in directions
        ]


def _proxy(route: _ProxyRoute, concept: Concept, number: int) -> Proxy | None:
    n = route.study.config.forecast.n_proxy_prompts
    positive = [p.text for p in concept.positive][:n]
    negative = [p.text for p in concept.negative][:n]
    loaded = route.study.target.loaded
    base = first_token_logits(loaded, positive)
    other = first_token_logits(loaded, negative)
    tokens = find_behavior_tokens(base, other)
    before = float(behavior_score(base, tokens).mean())
    if before - float(behavior_score(other, tokens).mean()) < _MIN_SCORE_GAP:
        return None
    falls = []
    for edits in (
        route.own_edits(positive, negative),
        route.transferred_edits(positive, negative, number),
    ):
        with intervene(loaded, edits):
            after = float(behavior_score(first_token_logits(loaded, positive), tokens).mean())
        falls.append(before - after)
    if falls[0] < _MIN_SCORE_GAP:
        return None
    return Proxy(concept.name, max(0.0, min(1.0, falls[1] / falls[0])))


def neighbour_effects(study: Study, intervention: Intervention) -> list[float]:
    """How much of the target's benign neighbours of the behavior an edit takes away, by request.

    Formula: 1 − p'(x) / mean p(x), p the probability of the tokens that open such an answer, x
    requests that get one, p' under the edit: 0 where nothing changes, 1 where nothing is left. What
    an edit does to these is what it will do to the behavior, as far as the two are one; log-odds,
    which have no floor, rank transfers less well (docs/LOG.md).

    Args:
        study: Gives the target and the concepts; the budget must allow neighbours (B0d).
        intervention: What is done to the target.

    Returns:
        One value for each request; none where the budget allows no neighbours, the target does not
        open them in a way of their own, or the edit is to strengthen the behavior.

    Source: ours; first tokens as in Arditi et al. 2024 (2406.11717), section 2.3.
    """
    if strengthens(study.config.replay):
        return []
    loaded, n = study.target.loaded, study.config.forecast.n_proxy_prompts
    effects: list[float] = []
    for concept in (c for c in allowed_concepts(study) if c.budget == "B0d"):
        neighbours = [p.text for p in concept.positive][:n]
        before = first_token_logits(loaded, neighbours)
        other = first_token_logits(loaded, [p.text for p in concept.negative][:n])
        tokens = find_behavior_tokens(before, other)
        score = behavior_score(before, tokens)
        if float(score.mean() - behavior_score(other, tokens).mean()) < _MIN_SCORE_GAP:
            continue
        with apply_intervention(loaded, intervention):
            left = behavior_score(first_token_logits(loaded, neighbours), tokens).sigmoid()
        effects += (1 - left / score.sigmoid().mean()).tolist()
    return effects
