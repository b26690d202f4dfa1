"""What every stage of one transfer shares: models, SAEs, prompts, ledger and codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import scipy.sparse
import torch
from jaxtyping import Int
from torch import Generator, Tensor

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import Prompt, PromptSuite
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.runs.ledger import Ledger
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.stage import Run
from conceptbasis.saes.build import SaeSet
from conceptbasis.saes.sae import Sae
from conceptbasis.study.harvest import Harvest

SideName = Literal["donor", "target"]


@dataclass(frozen=True)
class Side:
    """One model of a transfer with its SAEs."""

    config: ModelConfig
    loaded: LoadedModel
    model_hash: str
    saes: SaeSet

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.loaded.architecture.n_layers

    def sae(self, layer: int) -> Sae:
        """The SAE of a layer."""
        return self.saes.saes[layer]


@dataclass(frozen=True)
class Study:
    """One transfer."""

    run: Run
    config: RunConfig
    donor: Side
    target: Side
    suite: PromptSuite
    ledger: Ledger
    reporter: Reporter

    def side(self, name: SideName) -> Side:
        """The donor or the target."""
        return self.donor if name == "donor" else self.target

    def generator(self, salt: int) -> Generator:
        """A generator that depends on the run's seed and on who asks."""
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + salt)


def noun_clusters(prompts: Sequence[Prompt]) -> Int[Tensor, " n"]:
    """A label for each prompt; prompts about one noun share theirs, the others have their own."""
    nouns: dict[str, int] = {}
    return torch.tensor([nouns.setdefault(p.noun or p.text, len(nouns)) for p in prompts])


@dataclass
class Codes:
    """SAE codes of the harvested sites, encoded once when first asked for.

    Args:
        study: Gives the SAEs.
        harvest: Gives the residuals.
    """

    study: Study
    harvest: Harvest
    _kept: dict[tuple[SideName, int], scipy.sparse.csr_matrix] = field(default_factory=dict)

    def __call__(self, side: SideName, layer: int) -> scipy.sparse.csr_matrix:
        """Codes of all sites at a layer."""
        key = (side, layer)
        if key not in self._kept:
            sae = self.study.side(side).sae(layer)
            self._kept[key] = sae.encode_sparse(self.harvest.residuals(side, layer))
        return self._kept[key]

    def split(self, side: SideName, layer: int, name: str) -> scipy.sparse.csr_matrix:
        """Codes of one split's sites."""
        rows = self.harvest.rows(name).numpy()
        return scipy.sparse.csr_matrix(self(side, layer)[rows])
