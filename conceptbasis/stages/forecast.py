"""Stage `forecast`: will the transfer work? Said before the edit, without refusal labels.

Coverage (how much of the donor's direction is matched and was seen in the transfer text),
agreement on benign sites, and proxy transfers: benign behaviours sent through the same path, for
which labels of both models are allowed, so that success can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from conceptbasis.core.directions import difference_of_means
from conceptbasis.core.intervals import Interval, bootstrap_mean
from conceptbasis.errors import CoverageError, NumericsError
from conceptbasis.models.generation import first_token_logits
from conceptbasis.models.hooks import Edit, intervene
from conceptbasis.models.native import end_activations, find_refusal_tokens, refusal_score
from conceptbasis.prompts import Concept, budget_allows
from conceptbasis.run import StageOutput
from conceptbasis.stages.align import Alignment, allowed_concepts, code_differences
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.fit import RecipeSet, make_recipe
from conceptbasis.stages.guard import Guarded
from conceptbasis.stages.match import mask
from conceptbasis.stages.rebuilder import Rebuilder
from conceptbasis.stages.spread import replayed_pairs
from conceptbasis.stages.study import Study
from conceptbasis.stages.transfer import Transfer

N_PROXIES = 3
_MIN_SCORE_GAP = 2.0
"""Log-odds by which a concept must move the first answer token to count as a behaviour."""


@dataclass(frozen=True)
class Proxy:
    """A benign behaviour sent through the transfer, and the share of the native effect it had."""

    name: str
    success: float


def run_forecast(
    study: Study,
    rebuilder: Rebuilder,
    direction: DonorDirection,
    recipes: RecipeSet,
    alignment: Alignment,
    transfer: Transfer,
    guarded: Guarded,
) -> StageOutput:
    """Runs or reuses the stage.

    Raises:
        CoverageError: if the forecast declines the transfer and `forecast.force` is not set.
    """
    section = study.config.forecast

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        figures = _figures(study, recipes, alignment, transfer, guarded)
        proxies = measure_proxies(study, rebuilder, alignment, transfer.basis, guarded.single)
        figures["proxy_success"] = _mean(study, [p.success for p in proxies], 5)
        covered, unseen = _coverage(study, rebuilder, direction, alignment)
        reasons = _reasons(study, figures, covered, unseen)
        return {}, {
            "figures": figures,
            "covered_share": covered,
            "unseen_features": unseen,
            "proxies": [{"name": p.name, "success": p.success} for p in proxies],
            "passed": not reasons,
            "reasons": reasons,
        }

    output = study.run.stage(
        "forecast",
        config=section.model_dump(exclude={"force"}),
        inputs={
            "fit": recipes.output.hash,
            "align": alignment.output.hash,
            "transfer": transfer.output.hash,
            "guard": guarded.output.hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    if not output.result["passed"] and not section.force:
        raise CoverageError(
            "the forecast declines this transfer: " + "; ".join(output.result["reasons"]),
            expected="values above the bounds of the forecast section",
            fix="add transfer text in which the missing recipe features fire, loosen match.r_min, "
            "or go on with --force",
        )
    return output


def _figures(
    study: Study,
    recipes: RecipeSet,
    alignment: Alignment,
    transfer: Transfer,
    guarded: Guarded,
) -> dict[str, Any]:
    rows = transfer.output.result["layers"]
    scores, nulls = alignment.output.result["score"], alignment.output.result["null"]
    pairs = alignment.layer_map.pairs
    masses = [r.eligible_mass for r in recipes.recipes.values() if r.eligible_mass is not None]
    return {
        "eligible_mass": _mean_of_intervals(masses),
        "r_heldout": _mean(study, [a["r_heldout"] for r in rows for a in r["donor_atoms"]], 1),
        "agreement": _mean(study, [row["agreement"] for row in rows], 2),
        "svcca": _mean(study, [scores[t][d] for t, d in pairs], 3),
        "svcca_null": _mean(study, [nulls[t][d] for t, d in pairs], 4),
        "guard_overlap": _mean(
            study, [row["overlap_curve"][-1] for row in guarded.output.result["layers"]], 6
        ),
    }


def _mean(study: Study, values: Sequence[float], salt: int) -> dict[str, float | int] | None:
    if not values:
        return None
    tensor = torch.tensor(values, dtype=torch.float32)
    return bootstrap_mean(tensor, generator=study.generator(salt)).as_dict()


def _mean_of_intervals(intervals: Sequence[Interval]) -> dict[str, float | int] | None:
    if not intervals:
        return None
    n = len(intervals)
    return Interval(
        sum(i.value for i in intervals) / n,
        sum(i.low for i in intervals) / n,
        sum(i.high for i in intervals) / n,
        n,
    ).as_dict()


def _coverage(
    study: Study, rebuilder: Rebuilder, direction: DonorDirection, alignment: Alignment
) -> tuple[float, list[str]]:
    """Share of the direction's largest features, matched or not, that the transfer text fires.

    The second part names those it never fires, as layer:feature.
    """
    total, unseen = 0, []
    for donor in sorted({donor for _, donor in alignment.layer_map.pairs}):
        delta = code_differences(study, direction, donor).abs()
        z = rebuilder.codes.split("donor", donor, "fit")
        for feature in delta.topk(study.config.fit.n_atoms).indices.tolist():
            total += 1
            if z[:, feature].nnz == 0:
                unseen.append(f"{donor}:{feature}")
    return 1 - len(unseen) / total, unseen


def _reasons(study: Study, figures: dict[str, Any], covered: float, unseen: list[str]) -> list[str]:
    section = study.config.forecast
    reasons = []
    mass, agreement = figures["eligible_mass"], figures["agreement"]
    if mass is not None and mass["value"] < section.min_eligible_mass:
        reasons.append(
            f"matched features carry {mass['value']:.1%} of the direction "
            f"(least {section.min_eligible_mass:.1%}); {covered:.0%} of its largest features "
            f"fire in the transfer text, never: {', '.join(unseen[:12]) or 'none'} (layer:feature)"
        )
    if agreement["value"] < section.min_agreement:
        reasons.append(
            f"projections agree at {agreement['value']:.2f} (least {section.min_agreement:.2f})"
        )
    return reasons


def measure_proxies(
    study: Study, rebuilder: Rebuilder, alignment: Alignment, basis: str, single: int | None
) -> list[Proxy]:
    """Sends benign behaviours through the transfer and says how much of each it removed.

    A concept serves as a proxy if it moves the target's first answer token. Success is the fall of
    that token's log-odds under the transferred direction, as a share of the fall under the
    target's own direction for the same concept.

    Args:
        study: The study.
        rebuilder: The route.
        alignment: Layer map.
        basis: The basis of the transfer.
        single: The layer whose direction is replayed everywhere, None where each has its own.
    """
    found: list[Proxy] = []
    route = _ProxyRoute(study, rebuilder, basis, alignment.layer_map.pairs, single)
    with study.reporter.bar("proxy transfers") as advance:
        for number, concept in enumerate(_candidates(study)):
            try:
                proxy = _proxy(route, concept, salt=97 * number)
            except (CoverageError, NumericsError):
                # Nothing of this concept is matched: as a proxy transfer that is a failure.
                proxy = Proxy(concept.name, 0.0)
            if proxy is not None:
                found.append(proxy)
            advance(len(found), N_PROXIES, concept.name)
            if len(found) == N_PROXIES:
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

    def own_edits(self, positive: list[str], negative: list[str]) -> list[Edit]:
        """Along the target's own directions of the behaviour."""
        a = end_activations(self.study.target.loaded, positive)[-1]
        b = end_activations(self.study.target.loaded, negative)[-1]
        layers = [t for t, _ in replayed_pairs(self.pairs, self.single)]
        return self._edits({t: difference_of_means(a[t], b[t]).unit for t in layers})

    def transferred_edits(self, positive: list[str], negative: list[str], salt: int) -> list[Edit]:
        """Along the directions that the donor's behaviour gives."""
        pairs = replayed_pairs(self.pairs, self.single)
        return self._edits(
            transfer_contrast(
                self.study, self.rebuilder, self.basis, pairs, positive, negative, salt
            )
        )

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
    tokens = find_refusal_tokens(base, other)
    before = float(refusal_score(base, tokens).mean())
    if before - float(refusal_score(other, tokens).mean()) < _MIN_SCORE_GAP:
        return None
    falls = []
    for edits in (
        route.own_edits(positive, negative),
        route.transferred_edits(positive, negative, salt),
    ):
        with intervene(loaded, edits):
            after = float(refusal_score(first_token_logits(loaded, positive), tokens).mean())
        falls.append(before - after)
    if falls[0] < _MIN_SCORE_GAP:
        return None
    return Proxy(concept.name, max(0.0, min(1.0, falls[1] / falls[0])))


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
