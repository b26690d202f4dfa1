"""SAE codes of the shared sites, encoded once when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import scipy.sparse
import torch
from jaxtyping import Bool
from torch import Tensor

from conceptbasis.core.features.partners import CodePair
from conceptbasis.results.harvest import SideName
from conceptbasis.results.layers import LayerPair
from conceptbasis.saes.sae import Sae
from conceptbasis.study.sites import Sites
from conceptbasis.study.weights import SiteWeights


@dataclass
class Codes:
    """Codes by side and layer.

    Args:
        sites: Gives the residuals.
        saes: By side, the SAE of a layer.
    """

    sites: Sites
    saes: Mapping[SideName, Callable[[int], Sae]]
    _kept: dict[tuple[SideName, int], scipy.sparse.csr_matrix] = field(default_factory=dict)

    def __call__(self, side: SideName, layer: int) -> scipy.sparse.csr_matrix:
        """Codes of all sites at a layer, (n_sites, d_sae)."""
        key = (side, layer)
        if key not in self._kept:
            sae = self.saes[side](layer)
            self._kept[key] = sae.encode_sparse(self.sites.residuals(side, layer))
        return self._kept[key]

    def split(self, side: SideName, layer: int, name: str) -> scipy.sparse.csr_matrix:
        """Codes of one split's sites."""
        rows = self.sites.rows(name).numpy()
        return scipy.sparse.csr_matrix(self(side, layer)[rows])

    def density(self, side: SideName, layer: int) -> list[float]:
        """Share of sites at which each latent fires."""
        return (self(side, layer) != 0).mean(axis=0).A1.tolist()


def code_pair(
    codes: Codes, weigh: SiteWeights, pair: LayerPair, split: str, end_of_prompt_share: float
) -> CodePair:
    """Codes of a layer pair on one split, weighted as they match."""
    target, donor = pair
    return CodePair(
        codes.split("donor", donor, split),
        codes.split("target", target, split),
        weigh(split, end_of_prompt_share),
    )


def mask(ids: Tensor, size: int) -> Bool[Tensor, " size"]:
    """A boolean mask with True at the ids."""
    marked = torch.zeros(size, dtype=torch.bool)
    marked[ids] = True
    return marked
