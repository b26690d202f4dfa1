"""What atoms are about: the behavior in many wordings, or a single prompt template.

An atom that fires in one template only would carry over a wording and not a concept. Templates are
those of the prompts; a text without one has the wording that is left when its topic word is taken
out. Nothing of a hidden text is shown but its topic word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.behaviors import Behavior
from conceptbasis.config.budgets import budget_names, class_names
from conceptbasis.core.features.concentration import Concentration, concentration
from conceptbasis.interpret.texts import Corpus, Source
from conceptbasis.results.atoms import Share, Spread

MOST = 0.5
"""An atom is bound to a template that holds more than this share of its activation."""
FEW = 0.25
"""A template that holds this share of all texts cannot tell anything about an atom."""


@dataclass(frozen=True)
class Scope:
    """How the activation of an atom spreads, in the fields of `Evidence` of these names."""

    templates: Spread | None
    nouns: Spread | None
    about: Mapping[str, Share | None]
    template_bound: bool | None


def atom_scopes(
    corpus: Corpus,
    codes: scipy.sparse.csc_matrix,
    first: int,
    behavior: Behavior,
    positive_nouns: Collection[str],
) -> list[Scope]:
    """For each atom, how its activation spreads over templates and nouns, and what it is about.

    Args:
        corpus: The texts of one model.
        codes: Codes of the atoms at its sites.
        first: The text from which on templates and nouns are counted: the donor's own prompts, or
            0 where there are none.
        behavior: Says which classes of text ask for it, and which show it or look like it.
        positive_nouns: Topic words of the positive direction prompts.

    Returns:
        Spreads are None where the atom fires in none of these texts. `about` has two themes:
        `positive`, texts that ask for the behavior, and `behavior`, texts that show it or its
        benign neighbour. `template_bound` is None where it cannot be told.
    """
    mass = _mass(corpus, codes)
    sources = corpus.sources[first:]
    templates = _by(mass[first:], sources, [s.wording for s in sources])
    nouns = _by(mass[first:], sources, [s.topic for s in sources])
    labelled = class_names(lambda row: row.needs == budget_names()[-1])
    asking = [
        s.kind in behavior.hidden_classes or s.topic in positive_nouns for s in corpus.sources
    ]
    showing = [s.kind in (behavior.neighbour, *labelled) for s in corpus.sources]
    themes = {"positive": _about(corpus, codes, asking), "behavior": _about(corpus, codes, showing)}
    return [
        Scope(
            templates[i],
            nouns[i],
            {name: shares[i] for name, shares in themes.items()},
            _bound(templates[i]),
        )
        for i in range(mass.shape[1])
    ]


def _mass(corpus: Corpus, codes: scipy.sparse.csc_matrix) -> Float[Tensor, "n_texts n_atoms"]:
    """Activation of each atom in each text, summed over its sites."""
    texts = [site[0] for site in corpus.sites]
    shape = (len(corpus.sources), len(texts))
    of_text = scipy.sparse.csr_matrix((np.ones(len(texts)), (texts, range(len(texts)))), shape)
    return torch.from_numpy((of_text @ codes).toarray()).clamp(min=0)


def _by(
    mass: Float[Tensor, "n_texts n_atoms"],
    sources: Sequence[Source],
    names: Sequence[str | None],
) -> list[Spread | None]:
    """The spread over templates or nouns; texts without one are left out."""
    known = [i for i, name in enumerate(names) if name is not None]
    if not known:
        return [None] * mass.shape[1]
    numbers: dict[str, int] = {}
    groups = torch.tensor([numbers.setdefault(str(names[i]), len(numbers)) for i in known])
    found = concentration(mass[known], groups)
    shown = _shown([sources[i] for i in known], groups, list(numbers))
    return [_spread(found, shown, i, len(numbers)) for i in range(mass.shape[1])]


def _shown(
    sources: Sequence[Source], groups: Int[Tensor, " n"], names: Sequence[str]
) -> list[str | None]:
    """Names of groups; None where all texts of a group are hidden, unless the topic names it."""
    open_ones = {int(g) for s, g in zip(sources, groups, strict=True) if not s.hidden}
    topics = {source.topic for source in sources}
    return [name if i in open_ones or name in topics else None for i, name in enumerate(names)]


def _spread(
    found: Concentration, names: Sequence[str | None], atom: int, n_groups: int
) -> Spread | None:
    if float(found.largest[atom]) == 0:
        return None
    # Groups are numbered from 0 without gaps, so that a group is the place of its name.
    return Spread(
        n_groups,
        float(found.effective[atom]),
        found.even,
        float(found.largest[atom]),
        float(found.expected[atom]),
        names[int(found.group[atom])],
    )


def _bound(templates: Spread | None) -> bool | None:
    if templates is None or templates.largest_expected > FEW:
        return None
    return bool(templates.largest > MOST)


def _about(
    corpus: Corpus, codes: scipy.sparse.csc_matrix, chosen: Sequence[bool]
) -> list[Share | None]:
    """Share of each atom's activation in chosen texts, beside the share of their sites."""
    inside: Bool[Tensor, " n_sites"] = torch.tensor(chosen)[[site[0] for site in corpus.sites]]
    sums = [np.asarray(part.sum(axis=0)).ravel() for part in (codes[inside.numpy()], codes)]
    expected = float(inside.float().mean())
    return [
        Share(float(part / whole), expected) if whole > 0 else None
        for part, whole in zip(*sums, strict=True)
    ]
