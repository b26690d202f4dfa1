"""Stage `atoms`: what the atoms of the recipe stand for, from where they fire in both models.

The target reads nothing for it: its evidence comes from residuals that stage `harvest` kept. The
donor also reads its own direction prompts, token by token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import scipy.sparse
import torch
from torch import Tensor

from conceptbasis.config.evaluation import AtomsSection
from conceptbasis.core.directions.guard import overlap_curve
from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.features.evidence import spread_choice, word_separation
from conceptbasis.errors import NumericsError
from conceptbasis.interpret.labels import make_label, shared_words, told_apart
from conceptbasis.interpret.lines import trace_concepts
from conceptbasis.interpret.scope import atom_scopes
from conceptbasis.interpret.texts import (
    Corpus,
    harvested,
    source_of_prompt,
    vocabulary,
    word_matrix,
)
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.models.stream.residuals import read_residuals
from conceptbasis.models.stream.unembedding import token_effects
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.stage import StageOutput
from conceptbasis.saes.dashboards import feature_page
from conceptbasis.stages.direction import DonorDirection
from conceptbasis.stages.fit import RECIPE_TENSORS, RecipeSet
from conceptbasis.stages.guard import Guarded
from conceptbasis.stages.transfer import Transfer
from conceptbasis.study.study import Side, SideName, Study

_QUANTILES = (0.75, 0.5, 0.25)
_N_TOP = 3
_LEAST_Z = 2.0
_CLEARLY = 1 / 2
"""Share of a feature's highest activation from which on it counts as firing in a text."""
_PROMPT_BATCH = 128


@dataclass(frozen=True)
class _View:
    """What one model has read.

    Args:
        corpus: Its texts; the first `n_shared` are those of the other model too.
        harmful_nouns: Topic words of the donor's harmful prompts.
        words: Words that tell texts apart.
        holds: Which text holds which word.
        residuals: Of the texts that are not shared, by layer.
    """

    corpus: Corpus
    n_shared: int
    positive_nouns: Collection[str]
    words: Sequence[str]
    holds: scipy.sparse.csr_matrix
    residuals: Mapping[int, Tensor]


def run_atoms(
    study: Study,
    rebuilder: Rebuilder,
    direction: DonorDirection,
    recipes: RecipeSet,
    transfer: Transfer,
    guarded: Guarded,
) -> StageOutput:
    """Runs or reuses the stage."""
    rows = transfer.output.result["layers"]
    names = ("direction_harmful", "direction_harmless")
    prompts = [[p.text for p in study.suite[n][: study.config.atoms.n_prompts]] for n in names]

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        views = _views(study, rebuilder, sorted({row["donor"] for row in rows}))
        layers = []
        with study.reporter.bar("atoms") as advance:
            for done, row in enumerate(rows, 1):
                layers.append(_layer(study, rebuilder, views, row, guarded))
                _leave_out(study, rebuilder, recipes, direction, transfer.basis, layers[-1])
                advance(done, len(rows), "")
        return {}, {"layers": layers, "lines": trace_concepts(study, layers, rows)}

    return study.run.stage(
        "atoms",
        config=study.config.atoms.model_dump(),
        inputs={
            "harvest": rebuilder.harvest.hash,
            "transfer": transfer.output.hash,
            "guard": guarded.output.hash,
            "donor": study.donor.model_hash,
            "target": study.target.model_hash,
            "prompts": value_hash(prompts),
        },
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )


def _views(study: Study, rebuilder: Rebuilder, donor_layers: list[int]) -> dict[SideName, _View]:
    """The shared texts for both models, and the donor's own prompts for the donor."""
    shared = harvested(rebuilder.harvest)
    own = [
        source_of_prompt(prompt, positive=positive)
        for positive in (True, False)
        for prompt in study.suite[f"direction_{'harmful' if positive else 'harmless'}"][
            : study.config.atoms.n_prompts
        ]
    ]
    read = read_residuals(
        study.donor.loaded,
        [source.text for source in own],
        donor_layers,
        batch_size=_PROMPT_BATCH,
        end_of_prompt=True,
        reporter=study.reporter,
        label="donor prompts",
    )
    n_shared = len(shared.sources)
    sites = [(text + n_shared, message, offset) for text, message, offset in read.sites]
    donor = Corpus([*shared.sources, *own], [*shared.sites, *sites])
    words = vocabulary(donor.sources)
    nouns = {s.topic for s in own if s.hidden and s.topic}

    def view(corpus: Corpus, residuals: Mapping[int, Tensor]) -> _View:
        holds = word_matrix(corpus.sources, words)
        return _View(corpus, n_shared, nouns, words, holds, residuals)

    return {"donor": view(donor, read.values), "target": view(shared, {})}


def _layer(
    study: Study,
    rebuilder: Rebuilder,
    views: Mapping[SideName, _View],
    row: Mapping[str, Any],
    guarded: Guarded,
) -> dict[str, Any]:
    """Evidence of one layer: features of both sides, and the pairs of the recipe."""
    matched = [atom["target_feature"] for atom in row["donor_atoms"]]
    chosen: dict[SideName, list[int]] = {
        "donor": [atom["feature"] for atom in row["donor_atoms"]],
        "target": [f for f in matched if f is not None]
        + [atom["feature"] for atom in row["target_atoms"]],
    }
    found = {}
    for side, features in chosen.items():
        unique = list(dict.fromkeys(features))
        found[side] = _evidence(study, rebuilder, side, row[side], unique, views[side])
    overlap = _guard_overlap(study, guarded, row["target"], matched)
    by_feature = {e["feature"]: e for e in found["target"]}
    pairs = [
        {
            "feature": atom["feature"],
            "target_feature": atom["target_feature"],
            "guard_overlap": overlap[i],
            "words_shared": shared_words(
                found["donor"][i].pop("shared_words"),
                by_feature[matched[i]]["shared_words"] if matched[i] is not None else [],
            ),
            "leave_one_out": None,
        }
        for i, atom in enumerate(row["donor_atoms"])
    ]
    for evidence in found["target"]:
        del evidence["shared_words"]
    return {"target": row["target"], "donor": row["donor"], "atoms": pairs} | {
        f"{side}_features": evidence for side, evidence in found.items()
    }


def _evidence(
    study: Study,
    rebuilder: Rebuilder,
    side_name: SideName,
    layer: int,
    features: list[int],
    view: _View,
) -> list[dict[str, Any]]:
    """What each feature of one layer of one model stands for."""
    section, side = study.config.atoms, study.side(side_name)
    sae = side.sae(layer)
    parts = [rebuilder.codes(side_name, layer)[:, features]]
    density = (parts[0] != 0).mean(axis=0).A1.tolist()
    if layer in view.residuals:
        parts.append(sae.encode_sparse(view.residuals[layer])[:, features])
    codes = scipy.sparse.csc_matrix(scipy.sparse.vstack(parts))
    peaks = view.corpus.peaks(codes)
    fires = (peaks > 0) & (peaks >= _CLEARLY * peaks.amax(0))
    scores = word_separation(fires, view.holds)
    of_shared = word_separation(fires[: view.n_shared], view.holds[: view.n_shared])
    effects = token_effects(side.loaded, sae.W_dec[features], n_tokens=section.n_words)
    pieces = view.corpus.firing_pieces(codes, section.n_words)
    kinds = view.corpus.firing_kinds(fires)
    first = view.n_shared if layer in view.residuals else 0
    scopes = atom_scopes(view.corpus, codes, first, view.positive_nouns)
    page = _page(side, layer)
    found = []
    for i, feature in enumerate(features):
        evidence = {
            "feature": feature,
            "density": density[i],
            "fires_on": pieces[i],
            "words": _top_words(scores[i], view.words, section.n_words),
            "shared_words": [w for w, _ in _top_words(of_shared[i], view.words, section.n_words)],
            "kinds": kinds[i],
            **scopes[i],
            "promoted": list(effects[i].promoted),
            "suppressed": list(effects[i].suppressed),
            "contexts": _contexts(view.corpus, codes[:, i], peaks[:, i], section),
            "page": None if page is None else page.replace("{feature}", str(feature)),
        }
        found.append({**evidence, "label": make_label(evidence)})
    for evidence, apart in zip(found, told_apart(found), strict=True):
        evidence["collides"], evidence["differs"] = apart is not None, apart or []
    return found


def _top_words(scores: Tensor, words: Sequence[str], n: int) -> list[tuple[str, float]]:
    order = scores.argsort(descending=True, stable=True)[:n].tolist()
    return [(words[i], round(float(scores[i]), 2)) for i in order if scores[i] >= _LEAST_Z]


def _contexts(
    corpus: Corpus, column: scipy.sparse.csc_matrix, peaks: Tensor, section: AtomsSection
) -> list[dict[str, Any]]:
    """Contexts from the top and from lower quantiles of a feature's activation."""
    dense = column.toarray()[:, 0]
    quantiles = _QUANTILES[: max(0, section.n_contexts - _N_TOP)]
    chosen = spread_choice(peaks, n_top=min(_N_TOP, section.n_contexts), quantiles=quantiles)
    highest = float(peaks.max())
    return [corpus.context(text, dense, highest, quantile) for text, quantile in chosen]


def _page(side: Side, layer: int) -> str | None:
    release = side.config.saes.release
    return None if release is None else feature_page(release.release, release.sae_ids[layer])


def _guard_overlap(
    study: Study, guarded: Guarded, target: int, features: Sequence[int | None]
) -> list[float | None]:
    """Energy of each matched feature's row in the largest guard that was tried.

    None where a guard of an older version kept no basis.
    """
    if "basis" not in guarded.output.tensors:
        return [None] * len(features)
    basis = guarded.output.tensors["basis"][guarded.layers.index(target)]
    W_dec = study.target.sae(target).W_dec
    return [None if f is None else float(overlap_curve(W_dec[f], basis)[-1]) for f in features]


def _leave_out(
    study: Study,
    rebuilder: Rebuilder,
    recipes: RecipeSet,
    direction: DonorDirection,
    basis: str,
    layer: dict[str, Any],
) -> None:
    """Rebuilds a layer without each of its largest atoms and notes what that changes."""
    pair = (layer["target"], layer["donor"])
    recipe, r = recipes.recipes[pair[0]], direction.trajectory[pair[1]]
    n = min(study.config.atoms.n_leave_out, len(recipe.feature_ids))
    if n == 0 or len(recipe.feature_ids) < 2:
        return
    whole = rebuilder.rebuild(basis, pair, recipe, r)
    places = {atom["feature"]: atom for atom in layer["atoms"]}
    for i in recipe.coefficients.abs().topk(n).indices.tolist():
        try:
            left = rebuilder.rebuild(basis, pair, _without(recipe, i), r)
        except NumericsError:
            continue  # nothing is left of the direction, so there is no figure
        places[int(recipe.feature_ids[i])]["leave_one_out"] = {
            "cosine": float(left.rebuilt.direction @ whole.rebuilt.direction),
            "agreement": left.agreement - whole.agreement,
        }


def _without(recipe: Recipe, place: int) -> Recipe:
    kept = torch.arange(len(recipe.feature_ids)) != place
    return replace(recipe, **{name: getattr(recipe, name)[kept] for name in RECIPE_TENSORS})
