"""Benign behaviours of the target under an edit: what can be seen before anything harmful is asked.

A proxy transfer sends a benign behaviour of the donor through the whole path. The decline effect
puts the transferred intervention itself on requests that the target declines for harmless reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from conceptbasis.config.budgets import budget_allows
from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.data.prompts import Concept
from conceptbasis.edits.intervention import Intervention, apply_intervention, strengthens
from conceptbasis.edits.spread import replayed_pairs
from conceptbasis.errors import CoverageError, NumericsError
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.native import behavior_score, end_activations, find_behavior_tokens
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.stages.align import Alignment, allowed_concepts
from conceptbasis.stages.fit import make_recipe
from conceptbasis.stages.match import mask
from conceptbasis.study.study import Study

_MIN_SCORE_GAP = 2.0
"""Log-odds by which a concept must move the first answer token to count as a behaviour."""


@dataclass(frozen=True)
class Proxy:
    """A benign behaviour sent through the transfer, and the share of the native effect it had."""

    name: str
    success: float


def measure_proxies(
    study: Study,
    rebuilder: Rebuilder,
    alignment: Alignment,
    basis: str,
    single: int | None,
    edited: Sequence[int],
) -> list[Proxy]:
    """Sends benign behaviours through the transfer and says how much of each it removed.

    A concept serves as a proxy if it moves the target's first answer token. Success is the fall of
    that token's log-odds under the transferred direction at the layers that the run edits, as a
    share of the fall under the target's own direction for the same concept at all mapped layers.

    Args:
        study: The study.
        rebuilder: The route.
        alignment: Layer map.
        basis: The basis of the transfer.
        single: The layer whose direction is replayed everywhere, None where each has its own.
        edited: The layers that the transfer edits.
    """
    found: list[Proxy] = []
    route = _ProxyRoute(study, rebuilder, basis, alignment.layer_map.pairs, single, edited)
    n_proxies = study.config.forecast.n_proxies
    with study.reporter.bar("proxy transfers") as advance:
        for number, concept in enumerate(_candidates(study)):
            try:
                proxy = _proxy(route, concept, salt=97 * number)
            except (CoverageError, NumericsError):
                # Nothing of this concept is matched: as a proxy transfer that is a failure.
                proxy = Proxy(concept.name, 0.0)
            if proxy is not None:
                found.append(proxy)
            advance(len(found), n_proxies, concept.name)
            if len(found) == n_proxies:
                break
    return found


def _candidates(study: Study) -> list[Concept]:
    """Benign concepts, those closest to a refusal (declines) first."""
    benign = [c for c in allowed_concepts(study) if budget_allows("B0d", c.budget)]
    return sorted(benign, key=lambda c: (c.budget == "B0", c.name))


@dataclass(frozen=True)
class _ProxyRoute:
    """How a benign behaviour is taken out of the target: as the transfer takes out refusal."""

    study: Study
    rebuilder: Rebuilder
    basis: str
    pairs: Sequence[tuple[int, int]]
    single: int | None
    edited: Sequence[int]

    def own_edits(self, positive: list[str], negative: list[str]) -> list[Edit]:
        """Along the target's own directions of the behaviour."""
        a = end_activations(self.study.target.loaded, positive)[-1]
        b = end_activations(self.study.target.loaded, negative)[-1]
        layers = [t for t, _ in replayed_pairs(self.pairs, self.single)]
        return self._edits({t: difference_of_means(a[t], b[t]).unit for t in layers})

    def transferred_edits(self, positive: list[str], negative: list[str], salt: int) -> list[Edit]:
        """Along the directions that the donor's behaviour gives, at the edited layers."""
        pairs = replayed_pairs(self.pairs, self.single)
        directions = transfer_contrast(
            self.study, self.rebuilder, self.basis, pairs, positive, negative, salt
        )
        return [edit for edit in self._edits(directions) if edit.layer in self.edited]

    def _edits(self, directions: dict[int, Tensor]) -> list[Edit]:
        if self.single is None:
            return [Edit(layer, r) for layer, r in directions.items()]
        return [Edit(layer, directions[self.single]) for layer, _ in self.pairs]


def _proxy(route: _ProxyRoute, concept: Concept, *, salt: int) -> Proxy | None:
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
        route.transferred_edits(positive, negative, salt),
    ):
        with intervene(loaded, edits):
            after = float(behavior_score(first_token_logits(loaded, positive), tokens).mean())
        falls.append(before - after)
    if falls[0] < _MIN_SCORE_GAP:
        return None
    return Proxy(concept.name, max(0.0, min(1.0, falls[1] / falls[0])))


def decline_effects(study: Study, intervention: Intervention) -> list[float]:
    """How much of the target's harmless declines an edit takes away, for each request declined.

    Formula: 1 − p'(x) / mean p(x), p the probability of the tokens that open a decline, x requests
    that are declined for harmless reasons, p' under the edit: 0 where nothing changes, 1 where
    nothing is left. What an edit does to these is what it will do to refusal, as far as the two
    are one; log-odds, which have no floor, rank transfers less well (docs/LOG.md).

    Args:
        study: Gives the target and the concepts; the budget must allow declines (B0d).
        intervention: What is done to the target.

    Returns:
        One value for each request; none where the budget allows no declines, the target does not
        open them in a way of their own, or the edit is to strengthen refusal.

    Source: ours; refusal tokens as in Arditi et al. 2024 (2406.11717), section 2.3.
    """
    if strengthens(study.config.replay):
        return []
    loaded, n = study.target.loaded, study.config.forecast.n_proxy_prompts
    effects: list[float] = []
    for concept in (c for c in allowed_concepts(study) if c.budget == "B0d"):
        declined = [p.text for p in concept.positive][:n]
        before = first_token_logits(loaded, declined)
        other = first_token_logits(loaded, [p.text for p in concept.negative][:n])
        tokens = find_behavior_tokens(before, other)
        score = behavior_score(before, tokens)
        if float(score.mean() - behavior_score(other, tokens).mean()) < _MIN_SCORE_GAP:
            continue
        with apply_intervention(loaded, intervention):
            left = behavior_score(first_token_logits(loaded, declined), tokens).sigmoid()
        effects += (1 - left / score.sigmoid().mean()).tolist()
    return effects


def transfer_contrast(
    study: Study,
    rebuilder: Rebuilder,
    basis: str,
    pairs: Sequence[tuple[int, int]],
    positive: list[str],
    negative: list[str],
    salt: int,
) -> dict[int, Tensor]:
    """Any contrast of the donor, sent through the transfer; layers without a match are left out.

    Args:
        study: The study.
        rebuilder: The route.
        basis: One of `stages.rebuilder.BASES`.
        pairs: Layer map.
        positive: Donor prompts with the behaviour.
        negative: Donor prompts without it.
        salt: Makes the random draws of this call its own.

    Raises:
        CoverageError: if no layer has a matched feature that differs.
    """
    a = end_activations(study.donor.loaded, positive)[-1]
    b = end_activations(study.donor.loaded, negative)[-1]
    directions = {}
    for target, donor in pairs:
        eligible = mask(
            rebuilder.matches.pairs[(target, donor)].eligible_donor, study.donor.sae(donor).d_sae
        )
        unit = difference_of_means(a[donor], b[donor]).unit
        recipe = make_recipe(
            study, eligible, donor, a[donor], b[donor], unit, salt=salt + target, n_resamples=10
        )
        if len(recipe.feature_ids):
            choice = rebuilder.rebuild(basis, (target, donor), recipe, unit)
            directions[target] = choice.rebuilt.direction
    if not directions:
        raise CoverageError(
            "no matched feature differs between the two sets of prompts",
            expected="at least one at some layer",
            fix="use prompts whose difference the SAEs' features see",
        )
    return directions
