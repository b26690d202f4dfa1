"""How much each shared site counts when features are matched and maps are fitted and compared."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.results.direction import DonorDirection
from conceptbasis.study.sites import Sites

_MIN_ENDS = 20
"""Classes of text with fewer ends of prompts than this have no weight of their own."""


@dataclass
class SiteWeights:
    """Weights of the shared sites; each set of them is computed once.

    Args:
        sites: The shared texts and their sites.
        direction: The donor's direction, labels of the donor only.
    """

    sites: Sites
    direction: DonorDirection
    _known: dict[tuple[str, float], Tensor] = field(default_factory=dict, init=False)

    @functools.cached_property
    def shares(self) -> dict[str, float]:
        """How much of the weight on ends of prompts each class of text has."""
        return class_shares(self.sites, self.direction)

    def __call__(self, split: str, end_of_prompt_share: float) -> Float[Tensor, " n_rows"]:
        """Weights of a split's sites.

        Args:
            split: The split.
            end_of_prompt_share: Weight of all ends of prompts together.
        """
        key = (split, end_of_prompt_share)
        if key not in self._known:
            rows = self.sites.rows(split)
            self._known[key] = weigh_sites(self.sites, rows, self.shares, end_of_prompt_share)
        return self._known[key]


def class_shares(sites: Sites, direction: DonorDirection) -> dict[str, float]:
    """How the weight on ends of prompts is shared among the classes of text.

    Formula: share_c ∝ mean over the read layers of the donor's window of var(x_i r_i | c),
    each layer's variances divided by their sum. A class at whose ends the donor's direction does
    not vary says nothing about where it lies in the target, however many texts it has.

    Args:
        sites: The shared texts and their sites.
        direction: The donor's direction, labels of the donor only.
    """
    rows = sites.rows("fit")
    group, names = _groups(sites, rows)
    present = [g for g in group.unique().tolist() if g]
    layers = sorted(set(direction.window) & sites.layers("donor"))
    if not present or not layers:
        return {}
    total = torch.zeros(len(present), dtype=torch.float64)
    for layer in layers:
        along = sites.residuals("donor", layer)[rows] @ direction.per_layer[layer].float()
        found = torch.stack([along[group == g].double().var() for g in present])
        total += found / found.sum().clamp_min(torch.finfo(torch.float64).tiny)
    shares = (total / total.sum()).tolist()
    return {names[g - 1]: share for g, share in zip(present, shares, strict=True)}


def weigh_sites(
    sites: Sites,
    rows: Int[Tensor, " n_rows"],
    shares: Mapping[str, float],
    end_of_prompt_share: float,
) -> Float[Tensor, " n_rows"]:
    """Weights of sites: most on ends of prompts, shared among the classes of text.

    Where prompts end is where the direction is read. Classes with few ends count with the other
    sites.

    Args:
        sites: The shared texts and their sites.
        rows: The sites to weigh.
        shares: As `class_shares` gives them.
        end_of_prompt_share: Weight of all ends of prompts together.
    """
    group, names = _groups(sites, rows)
    counts = group.bincount(minlength=len(names) + 1)
    own = torch.tensor([0.0, *(shares.get(name, 0.0) for name in names)]) * (counts > 0)
    weights = end_of_prompt_share * own / own.sum().clamp_min(torch.finfo(own.dtype).tiny)
    weights[0] = 1 - end_of_prompt_share
    return (weights / counts)[group].double()


def _groups(sites: Sites, rows: Int[Tensor, " n_rows"]) -> tuple[Int[Tensor, " n_rows"], list[str]]:
    """The class of each end of a prompt, from 1; 0 for sites without a weight of their own."""
    classes = [text.text_class for text in sites.texts]
    names = sorted(set(classes))
    places = {name: i for i, name in enumerate(names, 1)}
    of_text = torch.tensor([places[name] for name in classes])
    group = of_text[sites.text[rows]] * sites.end_of_prompt[rows]
    return group * (group.bincount()[group] >= _MIN_ENDS), names
