"""Which latents of a recipe fire at each token that a model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.hook_points import reading_hook
from conceptbasis.report.evidence import label_of
from conceptbasis.report.inspection import Recipe
from conceptbasis.results.atoms import Evidence
from conceptbasis.results.harvest import SideName
from conceptbasis.saes.sae import Sae


@dataclass(frozen=True)
class NamedLatent:
    """A latent of the recipe.

    Args:
        latent: Its number in the SAE.
        label: What it stands for; None where stage `atoms` has not run.
        note: What is to be known of the label, such as what shares it; empty without anything.
        coefficient: Its signed coefficient.
        peak: Its highest activation in the evidence, None where there is none.
    """

    latent: int
    label: str | None
    note: str
    coefficient: float
    peak: float | None


NamedLatents = Mapping[int, tuple[NamedLatent, ...]]
"""The latents of a recipe by layer of one model."""


def named_latents(recipe: Recipe, side: SideName) -> NamedLatents:
    """The latents of one side; a donor layer that stands for two target layers has them once."""
    found: dict[int, dict[int, NamedLatent]] = {}
    for row in recipe.layers:
        atoms = row.donor_atoms if side == "donor" else row.target_atoms
        here = found.setdefault(row.donor if side == "donor" else row.target, {})
        for atom in atoms:
            known = here.get(atom.latent)
            if known is None or abs(known.coefficient) < abs(atom.coefficient):
                here[atom.latent] = _named(atom.latent, atom.coefficient, atom.evidence)
    return {layer: tuple(here.values()) for layer, here in found.items() if here}


def _named(latent: int, coefficient: float, evidence: Evidence | None) -> NamedLatent:
    label = label_of(evidence)
    peak = evidence.contexts[0].peak if evidence is not None and evidence.contexts else None
    if label is None:
        return NamedLatent(latent, None, "", coefficient, peak)
    note = " ".join(part for part in (label.note, label.warning) if part)
    return NamedLatent(latent, label.text, note, coefficient, peak)


@dataclass(frozen=True)
class Firing:
    """A latent that fires at a token."""

    layer: int
    latent: int
    activation: float


@dataclass(frozen=True)
class Place:
    """What was read at one token.

    Args:
        fires: The recipe's latents that are active, those first that weigh most: by activation
            times the size of the coefficient.
        sinks: Layers at which the token is an attention sink, which SAEs are not made for.
    """

    fires: tuple[Firing, ...]
    sinks: tuple[int, ...]


@dataclass
class FiringReader:
    """Reads the stream while a model writes one answer, after whatever edits it.

    Args:
        loaded: The model.
        saes: Its SAEs by layer.
        latents: What is looked for.
        bounds: By layer, the norm above which a token is an attention sink.
    """

    loaded: LoadedModel
    saes: Mapping[int, Sae]
    latents: NamedLatents
    bounds: Mapping[int, float | None]
    _unread: list[dict[int, Tensor]] = field(default_factory=list, init=False)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Reads every pass of the model within the context; open it inside that of the edit."""
        with ExitStack() as stack:
            for layer in sorted(self.latents):
                block = self.loaded.architecture.blocks[layer]
                stack.enter_context(reading_hook(block, self._keep(layer)))
            yield

    def _keep(self, layer: int) -> Callable[[Tensor], None]:
        first = min(self.latents)

        def keep(h: Tensor) -> None:
            if layer == first:  # a new pass
                self._unread.append({})
            self._unread[-1][layer] = h.detach()[0]

        return keep

    def take(self) -> list[Place]:
        """What fired at the tokens that were read since the last call, one entry a token."""
        passes, self._unread = self._unread, []
        return [place for streams in passes for place in self._places(streams)]

    def _places(self, streams: Mapping[int, Float[Tensor, "pos d_model"]]) -> Iterator[Place]:
        n_tokens = next(iter(streams.values())).shape[0]
        fires: list[list[Firing]] = [[] for _ in range(n_tokens)]
        sinks: list[list[int]] = [[] for _ in range(n_tokens)]
        for layer, h in streams.items():
            bound, wanted = self.bounds.get(layer), [x.latent for x in self.latents[layer]]
            norms = h.float().norm(dim=-1).tolist()
            codes = self.saes[layer].encode(h.float())[:, wanted].float().cpu().tolist()
            for at, row in enumerate(codes):
                if bound is not None and norms[at] > bound:
                    sinks[at].append(layer)
                    continue
                pairs = zip(wanted, row, strict=True)
                fires[at] += [Firing(layer, latent, x) for latent, x in pairs if x > 0]
        for here, layers in zip(fires, sinks, strict=True):
            yield Place(tuple(sorted(here, key=self._weight, reverse=True)), tuple(layers))

    def _weight(self, fire: Firing) -> float:
        return fire.activation * self._sizes[fire.layer, fire.latent]

    @cached_property
    def _sizes(self) -> dict[tuple[int, int], float]:
        rows = self.latents.items()
        return {(layer, x.latent): abs(x.coefficient) for layer, row in rows for x in row}
