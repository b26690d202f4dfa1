"""Evidence of what latents stand for, from where they fire in the texts that a model has read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import scipy.sparse
from torch import Tensor

from conceptbasis.config.evaluation import AtomsSection
from conceptbasis.core.features.evidence import spread_choice, word_separation
from conceptbasis.interpret.labels import make_label, told_apart
from conceptbasis.interpret.scope import atom_scopes
from conceptbasis.interpret.texts import (
    Corpus,
    harvested,
    sources_of_prompts,
    vocabulary,
    word_matrix,
)
from conceptbasis.models.stream.residuals import read_residuals
from conceptbasis.models.stream.unembedding import token_effects
from conceptbasis.results.atoms import Context, Evidence
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.saes.dashboards import feature_page
from conceptbasis.study.study import Side, Study

_QUANTILES = (0.75, 0.5, 0.25)
_N_TOP = 3
_LEAST_Z = 2.0
_CLEARLY = 1 / 2
"""Share of a latent's highest activation from which on it counts as firing in a text."""
_PROMPT_BATCH = 128


@dataclass(frozen=True)
class View:
    """What one model has read.

    Args:
        corpus: Its texts; the first `n_shared` are those of the other model too.
        n_shared: Number of these.
        positive_nouns: Topic words of the donor's positive prompts.
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


def read_views(study: Study, harvest: Harvest, donor_layers: list[int]) -> dict[SideName, View]:
    """The shared texts for both models, and the donor's own prompts for the donor."""
    shared, n, words = harvested(study.sites(harvest)), study.config.atoms.n_prompts, study.behavior
    own = [
        source
        for role, name, hidden in (
            ("positive", words.words.positive, bool(words.hidden_classes)),
            ("negative", words.words.negative, False),
        )
        for source in sources_of_prompts(study.prompts(role)[:n], f"{name}_requests", hidden=hidden)
    ]
    read = read_residuals(
        study.donor.loaded,
        [source.text for source in own],
        donor_layers,
        batch_size=_PROMPT_BATCH,
        end_of_prompt=True,
        reporter=study.reporter,
        label="donor prompts",
    ).without_outliers(study.config.harvest.max_norm_ratio)
    n_shared = len(shared.sources)
    sites = [(text + n_shared, message, offset) for text, message, offset in read.sites]
    donor = Corpus([*shared.sources, *own], [*shared.sites, *sites])
    told = vocabulary(donor.sources)
    nouns = {p.noun for p in study.prompts("positive")[:n] if p.noun}

    def view(corpus: Corpus, residuals: Mapping[int, Tensor]) -> View:
        return View(corpus, n_shared, nouns, told, word_matrix(corpus.sources, told), residuals)

    return {"donor": view(donor, read.values), "target": view(shared, {})}


@dataclass(frozen=True)
class Found:
    """Evidence of a latent, and the words of the shared texts alone that tell it apart."""

    evidence: Evidence
    shared_words: tuple[str, ...]


def find_evidence(
    study: Study, harvest: Harvest, name: SideName, layer: int, latents: list[int], view: View
) -> list[Found]:
    """What each latent of one layer of one model stands for.

    Args:
        study: Gives the model, its SAEs and the settings.
        harvest: The shared sites.
        name: The side.
        layer: Its layer.
        latents: Latents of the SAE, each once.
        view: What the model has read.
    """
    section, side = study.config.atoms, study.side(name)
    sae = side.sae(layer)
    parts = [study.codes(harvest)(name, layer)[:, latents]]
    density = (parts[0] != 0).mean(axis=0).A1.tolist()
    if layer in view.residuals:
        parts.append(sae.encode_sparse(view.residuals[layer])[:, latents])
    codes = scipy.sparse.csc_matrix(scipy.sparse.vstack(parts))
    peaks = view.corpus.peaks(codes)
    fires = (peaks > 0) & (peaks >= _CLEARLY * peaks.amax(0))
    scores = word_separation(fires, view.holds)
    of_shared = word_separation(fires[: view.n_shared], view.holds[: view.n_shared])
    effects = token_effects(side.loaded, sae.W_dec[latents], n_tokens=section.n_words)
    pieces = view.corpus.firing_pieces(codes, section.n_words)
    kinds = view.corpus.firing_kinds(fires)
    first = view.n_shared if layer in view.residuals else 0
    scopes = atom_scopes(view.corpus, codes, first, study.behavior, view.positive_nouns)
    page = _page(side, layer)
    found = [
        Evidence(
            latent=latent,
            label="",
            density=density[i],
            fires_on=pieces[i],
            words=_top_words(scores[i], view.words, section.n_words),
            kinds=kinds[i],
            **vars(scopes[i]),
            promoted=tuple(effects[i].promoted),
            suppressed=tuple(effects[i].suppressed),
            contexts=_contexts(view.corpus, codes[:, i], peaks[:, i], section),
            page=None if page is None else page.replace("{feature}", str(latent)),
            collides=False,
            differs=(),
        )
        for i, latent in enumerate(latents)
    ]
    words = [_top_words(row, view.words, section.n_words) for row in of_shared]
    return [
        Found(evidence, tuple(word for word, _ in own))
        for evidence, own in zip(_labelled(found), words, strict=True)
    ]


def _labelled(found: Sequence[Evidence]) -> list[Evidence]:
    """The same evidence with labels, and what tells equal ones apart."""
    named = [replace(evidence, label=make_label(evidence)) for evidence in found]
    return [
        replace(evidence, collides=apart is not None, differs=apart or ())
        for evidence, apart in zip(named, told_apart(named), strict=True)
    ]


def _top_words(scores: Tensor, words: Sequence[str], n: int) -> tuple[tuple[str, float], ...]:
    order = scores.argsort(descending=True, stable=True)[:n].tolist()
    return tuple((words[i], round(float(scores[i]), 2)) for i in order if scores[i] >= _LEAST_Z)


def _contexts(
    corpus: Corpus, column: scipy.sparse.csc_matrix, peaks: Tensor, section: AtomsSection
) -> tuple[Context, ...]:
    """Contexts from the top and from lower quantiles of a latent's activation."""
    dense = column.toarray()[:, 0]
    quantiles = _QUANTILES[: max(0, section.n_contexts - _N_TOP)]
    chosen = spread_choice(peaks, n_top=min(_N_TOP, section.n_contexts), quantiles=quantiles)
    highest = float(peaks.max())
    return tuple(corpus.context(text, dense, highest, quantile) for text, quantile in chosen)


def _page(side: Side, layer: int) -> str | None:
    release = side.config.saes.release
    return None if release is None else feature_page(release.release, release.sae_ids[layer])
