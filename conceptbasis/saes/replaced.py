"""Cross-entropy of a model in which one layer's output is replaced at ordinary positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from conceptbasis.core.statistics.outliers import ordinary_sites
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.hooks import splice
from conceptbasis.models.text.chat import Text
from conceptbasis.models.text.generation import text_nll

BATCH_OF_TEXTS = 128


@dataclass(frozen=True)
class Replaced:
    """A model whose layers are replaced one at a time while it reads the same texts.

    Args:
        loaded: The model.
        texts: What it reads.
        bounds: By layer, the norm above which a position is an outlier; None where none is. A
            position that is one at any layer is never replaced.
    """

    loaded: LoadedModel
    texts: Sequence[Text]
    bounds: Mapping[int, float | None]
    _known: dict[tuple[int, ...], Tensor] = field(default_factory=dict, init=False, repr=False)

    def cross_entropy(
        self, layer: int | None = None, function: Callable[[Tensor], Tensor] | None = None
    ) -> float:
        """Mean negative log-likelihood of a token, in nats.

        Args:
            layer: The layer that is replaced; None to replace nothing.
            function: What its output becomes, from `(batch, pos, d_model)` to the same shape.
        """

        @contextmanager
        def around(places: Sequence[int], ids: Tensor, mask: Tensor) -> Iterator[None]:
            if layer is None or function is None:
                yield
                return
            keep = self._ordinary(places, ids, mask)[..., None]

            def replace(h: Tensor) -> Tensor:
                return torch.where(keep.to(h.device), function(h), h)

            with splice(self.loaded, {layer: replace}):
                yield

        texts = list(self.texts)
        nll, tokens = text_nll(self.loaded, texts, batch_size=BATCH_OF_TEXTS, around=around)
        return float(nll.sum() / tokens.sum())

    def _ordinary(
        self, places: Sequence[int], ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"]
    ) -> Bool[Tensor, "batch pos"]:
        """Found in the untouched model, once for each batch."""
        if not any(bound is not None for bound in self.bounds.values()):
            return torch.ones_like(ids, dtype=torch.bool)
        key = tuple(places)
        if key not in self._known:
            stream = capture(self.loaded, ids, mask, layers=self.bounds)
            sizes = {layer: h.float().norm(dim=-1).cpu() for layer, h in stream.items()}
            self._known[key] = ordinary_sites(sizes, self.bounds)
        return self._known[key]
