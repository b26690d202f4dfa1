"""What atoms are about: refusal and harm in many wordings, or a single prompt template.

An atom that fires in one template only would carry over a wording and not a concept. Templates are
those of the prompts; a text without one has the wording that is left when its topic word is taken
out. Nothing of a hidden text is shown but its topic word.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.core.features.concentration import Concentration, concentration
from conceptbasis.interpret.texts import Corpus, Source

MOST = 0.5
"""An atom is bound to a template that holds more than this share of its activation."""
FEW = 0.25
"""A template that holds this share of all texts cannot tell anything about an atom."""

HARM, DECLINE = ("harmful_requests", "refusals"), ("declines", "refusals")


def atom_scopes(
    corpus: Corpus, codes: scipy.sparse.csc_matrix, first: int, positive_nouns: Collection[str]
) -> list[dict[str, Any]]:
    """For each atom, how its activation spreads over templates and nouns, and what it is about.

    Args:
        corpus: The texts of one model.
        codes: Codes of the atoms at its sites.
        first: The text from which on templates and nouns are counted: the donor's own prompts, or
            0 where there are none.
        harmful_nouns: Topic words of the harmful direction prompts.

    Returns:
        `templates` and `nouns`, each `{n, effective, even, largest, largest_expected, name}` or
        None where the atom fires in none of these texts; `about`, the share of its activation in
        texts on harmful topics and in declines or refusals, each beside the share of such sites;
        `template_bound`, None where it cannot be told.
    """
    mass = _mass(corpus, codes)
    sources = corpus.sources[first:]
    spread = {
        "templates": _by(mass[first:], sources, [s.wording for s in sources]),
        "nouns": _by(mass[first:], sources, [s.topic for s in sources]),
    }
    about = {
        "harm": _about(corpus, codes, [_positive(s, positive_nouns) for s in corpus.sources]),
        "decline": _about(corpus, codes, [s.kind in DECLINE for s in corpus.sources]),
    }
    return [
        {
            **{name: rows[i] for name, rows in spread.items()},
            "about": {name: rows[i] for name, rows in about.items()},
            "template_bound": _bound(spread["templates"][i]),
        }
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
) -> list[dict[str, Any] | None]:
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
) -> dict[str, Any] | None:
    if float(found.largest[atom]) == 0:
        return None
    # Groups are numbered from 0 without gaps, so that a group is the place of its name.
    return {
        "n": n_groups,
        "effective": float(found.effective[atom]),
        "even": found.even,
        "largest": float(found.largest[atom]),
        "largest_expected": float(found.expected[atom]),
        "name": names[int(found.group[atom])],
    }


def _bound(templates: dict[str, Any] | None) -> bool | None:
    if templates is None or templates["largest_expected"] > FEW:
        return None
    return bool(templates["largest"] > MOST)


def _positive(source: Source, positive_nouns: Collection[str]) -> bool:
    return source.kind in HARM or source.topic in positive_nouns


def _about(
    corpus: Corpus, codes: scipy.sparse.csc_matrix, chosen: Sequence[bool]
) -> list[dict[str, float] | None]:
    """Share of each atom's activation in chosen texts, beside the share of their sites."""
    inside: Bool[Tensor, " n_sites"] = torch.tensor(chosen)[[site[0] for site in corpus.sites]]
    sums = [np.asarray(part.sum(axis=0)).ravel() for part in (codes[inside.numpy()], codes)]
    expected = float(inside.float().mean())
    return [
        {"share": float(part / whole), "expected": expected} if whole > 0 else None
        for part, whole in zip(*sums, strict=True)
    ]
