"""What every stage of one transfer shares: settings, models, SAEs, prompts, ledger, streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from conceptbasis.behaviors import Behavior, find_behavior
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import Prompt, PromptSuite
from conceptbasis.data.texts import shared_texts
from conceptbasis.models.loading.loaded import Gate, LoadedModel
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.seeds import generator
from conceptbasis.saes.build import SaeSet
from conceptbasis.saes.sae import Sae
from conceptbasis.study.codes import Codes
from conceptbasis.study.concepts import hash_concepts
from conceptbasis.study.ledger import Ledger
from conceptbasis.study.sites import Sites
from conceptbasis.study.weights import SiteWeights


@dataclass
class Side:
    """One model of a transfer with its SAEs, opened when they are first asked for.

    Args:
        config: Its file.
        model_hash: Hash of its weights and template.
        saes_hash: Hash over its SAEs.
        layers: Layers with SAEs.
        open_model: Loads the model.
        open_saes: Loads its SAEs.
    """

    config: ModelConfig
    model_hash: str
    saes_hash: str
    layers: tuple[int, ...]
    open_model: Callable[[], LoadedModel]
    open_saes: Callable[[], SaeSet]

    @classmethod
    def of(cls, config: ModelConfig, loaded: LoadedModel, model_hash: str, saes: SaeSet) -> Side:
        """A side that is open already."""
        layers = tuple(sorted(saes.saes))
        return cls(config, model_hash, saes.hash, layers, lambda: loaded, lambda: saes)

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model."""
        return self.open_model()

    @cached_property
    def saes(self) -> SaeSet:
        """Its SAEs."""
        return self.open_saes()

    def guard_texts(self, gate: Gate) -> None:
        """From now on the model reads only what a gate lets pass."""
        self.loaded = replace(self.loaded, gate=gate)

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.loaded.architecture.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.loaded.architecture.d_model

    def sae(self, layer: int) -> Sae:
        """The SAE of a layer."""
        return self.saes.saes[layer]


@dataclass
class Study:
    """One transfer; the context that stages compute in.

    Args:
        folder: The run folder.
        config: All settings.
        donor: Where the intervention comes from.
        target: Where it is rebuilt.
        suite: Prompts and texts.
        ledger: What the target may read and has read.
        reporter: Told the progress.
    """

    folder: Path
    config: RunConfig
    donor: Side
    target: Side
    suite: PromptSuite
    ledger: Ledger
    reporter: Reporter
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def behavior(self) -> Behavior:
        """What is transferred."""
        return find_behavior(self.config.behavior)

    def side(self, name: SideName) -> Side:
        """The donor or the target."""
        return self.donor if name == "donor" else self.target

    def prompts(self, role: str) -> tuple[Prompt, ...]:
        """The prompts of a role of the behavior (`positive`, `eval_negative`, ...), or of a set."""
        return self.suite[getattr(self.behavior.sets, role, role)]

    def generator(self, *name: str | int) -> Generator:
        """The random stream of a name; no two names share one."""
        return generator(self.config.seed, *name)

    def sites(self, harvest: Harvest) -> Sites:
        """The shared sites with their texts and residuals; the target may read these texts."""

        def make() -> Sites:
            texts = shared_texts(self.suite, self.config)
            self.ledger.allow(texts)
            return Sites.of(harvest, self.folder / "harvest", texts)

        return self._keep("sites", harvest, make)

    def codes(self, harvest: Harvest) -> Codes:
        """SAE codes of the shared sites."""

        def make() -> Codes:
            return Codes(self.sites(harvest), {"donor": self.donor.sae, "target": self.target.sae})

        return self._keep("codes", harvest, make)

    def weights(self, harvest: Harvest, direction: DonorDirection) -> SiteWeights:
        """How much each shared site counts."""
        return self._keep("weights", direction, lambda: SiteWeights(self.sites(harvest), direction))

    def _keep(self, name: str, of: object, make: Callable[[], Any]) -> Any:
        """Made once for each result it is made of."""
        known = self._kept.get(name)
        if known is None or known[0] is not of:
            known = self._kept[name] = (of, make())
        return known[1]

    # The context of the graph of stages

    def source_hash(self, name: str) -> str:
        """Hash of what stages read beside results: models, SAEs, texts and prompts."""
        side, _, part = name.partition(".")
        if side in ("donor", "target"):
            own = self.donor if side == "donor" else self.target
            return own.saes_hash if part == "saes" else own.model_hash
        if name == "layers":
            return value_hash([self.donor.layers, self.target.layers])
        if name == "texts":
            texts = shared_texts(self.suite, self.config)
            return value_hash([(t.content, t.text_class) for t in texts])
        if name == "concepts":
            return hash_concepts(self.suite, self.config.budget)
        sets = self.behavior.sets
        names = [sets.positive, sets.negative]
        if name == "prompts.evaluation":
            names += sorted({*sets.evaluated.values()})
        elif name != "prompts.direction":
            raise KeyError(name)
        prompts = [self.suite.prompts.get(n, ()) for n in names]
        return value_hash([[(p.text, p.answer) for p in group] for group in prompts])

    def say(self, line: str) -> None:
        """Prints one line."""
        self.reporter.say(line)

    def detail(self, line: str) -> None:
        """Prints one line that only some want."""
        self.reporter.detail(line)

    def on_result(self, name: str, result: Any) -> None:
        """Books what a result says was shown to the target."""
        self.ledger.book(name, getattr(result, "shown", ()))


def noun_clusters(prompts: Sequence[Prompt]) -> Int[Tensor, " n"]:
    """A label for each prompt; prompts about one noun share theirs, the others have their own."""
    nouns: dict[str, int] = {}
    return torch.tensor([nouns.setdefault(p.noun or p.text, len(nouns)) for p in prompts])
