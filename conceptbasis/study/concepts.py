"""Concepts that a budget allows, and their directions in a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.budgets import budget_allows, concept_class
from conceptbasis.core.directions.difference import difference_of_means
from conceptbasis.data.prompts import Concept, PromptSuite, Text
from conceptbasis.models.stream.native import end_activations
from conceptbasis.results.harvest import Shown
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.progress import Advance

if TYPE_CHECKING:
    from conceptbasis.study.study import Side, Study


def allowed_concepts(study: Study) -> list[Concept]:
    """The concepts whose prompts the budget lets the target read; it may read them from now on."""
    concepts = _allowed(study.suite, study.config.budget)
    study.ledger.allow(
        Text(p.text, concept_class(c.budget)) for c in concepts for p in (*c.positive, *c.negative)
    )
    return concepts


def shown_concepts(concepts: Sequence[Concept]) -> tuple[Shown, ...]:
    """What the ledger books for the prompts of concepts."""
    return tuple(
        Shown(concept_class(c.budget), len(c.positive) + len(c.negative)) for c in concepts
    )


def hash_concepts(suite: PromptSuite, budget: str) -> str:
    """Hash of the concepts that a budget allows."""
    return value_hash([asdict(c) for c in _allowed(suite, budget)])


def _allowed(suite: PromptSuite, budget: str) -> list[Concept]:
    return [c for c in suite.concepts if budget_allows(budget, c.budget)]


def concept_differences(
    side: Side, concepts: Sequence[Concept], advance: Advance
) -> Float[Tensor, "n_layers n_concepts d_model"]:
    """One difference of means per concept and layer, at the last prompt position."""
    found = []
    for done, concept in enumerate(concepts):
        advance(done, len(concepts), side.config.name)
        positive = end_activations(side.loaded, [p.text for p in concept.positive])[-1]
        negative = end_activations(side.loaded, [p.text for p in concept.negative])[-1]
        pairs = zip(positive, negative, strict=True)
        directions = [difference_of_means(p, n) for p, n in pairs]
        found.append(torch.stack([d.unit * d.norm for d in directions]))
    return torch.stack(found, dim=1)
