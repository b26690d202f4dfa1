"""Stage `transfer`: recipes rebuilt in the target, in three bases, without any target label.

The maps are fitted where the direction is read: the sites at the end of a prompt hold most of the
weight. The ridge strength of each layer is the one whose rebuilt direction agrees best with the
donor's direction on such sites that were not used for fitting (projection agreement).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.artifacts import StageOutput
from conceptbasis.core.matching import Matches
from conceptbasis.core.partners import feature_stats
from conceptbasis.core.rebuild import (
    Rebuilt,
    rebuild_code_map,
    rebuild_matched,
    rebuild_transported,
)
from conceptbasis.core.recipe import Recipe
from conceptbasis.core.similarity import projection_agreement
from conceptbasis.core.sites import Batch, select_rows
from conceptbasis.core.stats import StreamingMoments
from conceptbasis.stages.align import Alignment
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.fit import RecipeSet
from conceptbasis.stages.harvest import Harvest
from conceptbasis.stages.match import LayerPair, MatchSet, mask
from conceptbasis.stages.site_weights import class_shares, weigh_sites
from conceptbasis.stages.study import Codes, Study

BASES = ("code_map", "transported", "matched")

_NEARLY = 0.05
"""The weakest ridge whose agreement is less than this share below the best is taken: a strong one
turns every direction towards the one along which the target's ends of prompts differ most."""


@dataclass(frozen=True)
class Choice:
    """A rebuilt direction with the strength that was chosen for it and its agreement.

    Args:
        rebuilt: The direction.
        strength: Chosen ridge strength, None where there is none to choose.
        agreement: Projection agreement on sites that nothing was chosen on.
        by_strength: Agreement of each strength on the sites of the choice.
    """

    rebuilt: Rebuilt
    strength: float | None
    agreement: float
    by_strength: Mapping[float, float]


@dataclass(frozen=True)
class Transfer:
    """Unit directions in the target by basis, one row per edited layer."""

    layers: tuple[int, ...]
    directions: Mapping[str, Float[Tensor, "n_edited d_target"]]
    steering: Float[Tensor, "n_edited d_target"]
    output: StageOutput

    def agreements(self, basis: str) -> dict[int, float]:
        """Projection agreement of a basis by target layer."""
        rows = self.output.result["layers"]
        return {row["target"]: row["agreement_by_basis"][basis] for row in rows}


@dataclass
class Rebuilder:
    """Rebuilds donor recipes in the target; the one route for transfer, proxies and controls."""

    study: Study
    harvest: Harvest
    codes: Codes
    matches: MatchSet
    direction: DonorDirection
    _sources: dict[LayerPair, tuple[Tensor, StreamingMoments]] = field(
        default_factory=dict, init=False
    )
    _readouts: dict[LayerPair, StreamingMoments] = field(default_factory=dict, init=False)
    _weights: dict[str, Tensor] = field(default_factory=dict, init=False)

    @functools.cached_property
    def shares(self) -> dict[str, float]:
        """How much of the weight on ends of prompts each class of text has."""
        return class_shares(self.harvest, self.direction)

    def rebuild(
        self, basis: str, pair: LayerPair, recipe: Recipe, direction: Float[Tensor, " d_donor"]
    ) -> Choice:
        """Rebuilds one recipe at one layer pair in one basis.

        Args:
            basis: One of `BASES`.
            pair: Target and donor layer.
            recipe: The donor's recipe.
            direction: The donor direction that agreement is measured against.
        """
        target = pair[0]
        matches, sae = self.matches.pairs[pair], self.study.target.sae(target)
        if basis == "matched":
            donor_codes = self.codes.split("donor", pair[1], "fit")
            target_codes = self.codes.split("target", target, "fit")
            stats = (feature_stats([z]) for z in (donor_codes, target_codes))
            rebuilt = rebuild_matched(recipe, matches, *stats, W_dec_target=sae.W_dec)
            return self.fixed(rebuilt, pair, direction)
        if basis == "transported":
            z = self.codes("donor", pair[1])[:, recipe.feature_ids.numpy()].tocsr()
            moments = self.moments(z, self.harvest.residuals("target", target))
            return self.choose(
                pair, direction, lambda s: rebuild_transported(recipe, moments, strength=s)
            )
        moments = self._source(pair, recipe.feature_ids)
        matched = matches.eligible_target
        allowed, readout = mask(matched, sae.d_sae), self._readout(pair)
        return self.choose(
            pair,
            direction,
            lambda s: rebuild_code_map(
                recipe,
                moments,
                lambda ids: readout.select_inputs(torch.searchsorted(matched, ids)),
                W_dec_target=sae.W_dec,
                allowed_target=allowed,
                strength=s,
                n_atoms=self.study.config.transfer.n_atoms,
            ),
        )

    def prepare(self, pair: LayerPair, features: Int[Tensor, " n_features"]) -> None:
        """Reads the moments of these donor features once, for several recipes made of them.

        Args:
            pair: Target and donor layer.
            features: Ascending.
        """
        # Of one pair at a time: with large dictionaries all of them would not fit into memory.
        self._sources = {pair: (features, self._read(pair, features))}

    def _read(self, pair: LayerPair, features: Tensor) -> StreamingMoments:
        z = self.codes("donor", pair[1])[:, features.numpy()].tocsr()
        return self.moments(z, self.codes("target", pair[0]))

    def _source(self, pair: LayerPair, features: Tensor) -> StreamingMoments:
        """Moments from donor features to all target codes."""
        known, moments = self._sources.get(pair, (features[:0], None))
        if moments is None or not bool(torch.isin(features, known).all()):
            return self._read(pair, features)
        return moments.select_inputs(torch.searchsorted(known, features))

    def _readout(self, pair: LayerPair) -> StreamingMoments:
        """Moments from the codes of a pair's matched target features to target residuals."""
        if pair not in self._readouts:
            ids = self.matches.pairs[pair].eligible_target.numpy()
            z = self.codes("target", pair[0])[:, ids].tocsr()
            self._readouts[pair] = self.moments(z, self.harvest.residuals("target", pair[0]))
        return self._readouts[pair]

    def moments(self, x: Batch, y: Batch) -> StreamingMoments:
        """Moments on fit sites, the ends of prompts holding their share of the weight."""
        rows = self.harvest.rows("fit")
        weights = self.site_weights("fit")
        parts = []
        for weight in weights.unique().tolist():
            chosen = rows[weights == weight]
            part = StreamingMoments(x.shape[1], y.shape[1])
            part.update(select_rows(x, chosen), select_rows(y, chosen))
            parts.append(part.scaled(weight))
        return functools.reduce(StreamingMoments.merge, parts)

    def site_weights(self, split: str) -> Float[Tensor, " n_rows"]:
        """Weights of a split's sites, computed once: every agreement asks for them."""
        if split not in self._weights:
            share = self.study.config.transfer.end_of_prompt_share
            self._weights[split] = weigh_sites(
                self.harvest, self.harvest.rows(split), self.shares, share
            )
        return self._weights[split]

    def choose(
        self, pair: LayerPair, direction: Tensor, rebuild: Callable[[float], Rebuilt]
    ) -> Choice:
        """The weakest ridge whose direction agrees nearly as well as the best with the donor's.

        Args:
            pair: Target and donor layer.
            direction: The donor direction that agreement is measured against.
            rebuild: Gives the direction of a strength.
        """
        tried = {s: rebuild(s) for s in sorted(self.study.config.transfer.strengths)}
        by_strength = {
            s: self.agreement(pair, direction, r.direction, "select") for s, r in tried.items()
        }
        most = max(by_strength.values())
        best = next(s for s, a in by_strength.items() if a >= most - _NEARLY * abs(most))
        agreement = self.agreement(pair, direction, tried[best].direction, "report")
        return Choice(tried[best], best, agreement, by_strength)

    def fixed(self, rebuilt: Rebuilt, pair: LayerPair, direction: Tensor) -> Choice:
        """A direction that has no strength to choose, with its agreement."""
        agreement = self.agreement(pair, direction, rebuilt.direction, "report")
        return Choice(rebuilt, None, agreement, {})

    def agreement(self, pair: LayerPair, donor: Tensor, target: Tensor, split: str) -> float:
        """Weighted correlation of donor and target projections over sites of a split."""
        rows = self.harvest.rows(split)
        a = self.harvest.residuals("donor", pair[1])[rows] @ donor.float()
        b = self.harvest.residuals("target", pair[0])[rows] @ target.float()
        return projection_agreement(a, b, self.site_weights(split))


def run_transfer(
    study: Study,
    rebuilder: Rebuilder,
    recipes: RecipeSet,
    direction: DonorDirection,
    alignment: Alignment,
) -> Transfer:
    """Runs or reuses the stage."""
    pairs = alignment.layer_map.pairs
    section = study.config.transfer

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        found: dict[str, list[Tensor]] = {name: [] for name in BASES}
        steering, rows = [], []
        with study.reporter.bar("transfer") as advance:
            for done, pair in enumerate(pairs, 1):
                recipe, r = recipes.recipes[pair[0]], direction.trajectory[pair[1]]
                choices = {b: rebuilder.rebuild(b, pair, recipe, r) for b in BASES}
                for name, choice in choices.items():
                    found[name].append(choice.rebuilt.direction)
                steering.append(choices[section.basis].rebuilt.steering)
                rows.append(_row(rebuilder, pair, recipe, choices, section.basis))
                advance(done, len(pairs), "")
        tensors = {f"{name}.direction": torch.stack(units) for name, units in found.items()}
        tensors |= {
            "direction": torch.stack(found[section.basis]),
            "steering": torch.stack(steering),
        }
        shares = rebuilder.shares
        return tensors, {"basis": section.basis, "class_shares": shares, "layers": rows}

    output = study.run.stage(
        "transfer",
        config=section.model_dump(),
        inputs={
            "fit": recipes.output.hash,
            "harvest": rebuilder.harvest.hash,
            "target_saes": study.target.saes.hash,
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    return Transfer(
        tuple(target for target, _ in pairs),
        {name: output.tensors[f"{name}.direction"] for name in BASES},
        output.tensors["steering"],
        output,
    )


def _row(
    rebuilder: Rebuilder,
    pair: LayerPair,
    recipe: Recipe,
    choices: Mapping[str, Choice],
    basis: str,
) -> dict[str, Any]:
    chosen = choices[basis]
    matches = rebuilder.matches.pairs[pair]
    density = (rebuilder.codes("target", pair[0]) != 0).mean(axis=0).A1
    return {
        "target": pair[0],
        "donor": pair[1],
        "strength": chosen.strength,
        "agreement": chosen.agreement,
        "agreement_by_basis": {name: c.agreement for name, c in choices.items()},
        "agreement_by_strength": {str(s): a for s, a in chosen.by_strength.items()},
        "donor_atoms": [
            _donor_atom(feature, float(recipe.coefficients[i]), matches)
            for i, feature in enumerate(recipe.feature_ids.tolist())
        ],
        "target_atoms": [
            {"feature": f, "coefficient": float(c), "density": float(density[f])}
            for f, c in zip(
                chosen.rebuilt.target_ids.tolist(),
                chosen.rebuilt.target_coefficients.tolist(),
                strict=True,
            )
        ],
    }


def _donor_atom(feature: int, coefficient: float, matches: Matches) -> dict[str, Any]:
    best = matches.best_target(feature)
    row = ((matches.donor_ids == feature) & (matches.target_ids == best)).nonzero()[0, 0]
    return {
        "feature": feature,
        "coefficient": coefficient,
        "target_feature": best,
        "r_heldout": float(matches.r_heldout[row]),
        "null_quantile": float(matches.null_quantile[row]),
    }
