"""What stage `harvest` leaves: the sites that both models share, and what was read at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

SideName: TypeAlias = Literal["donor", "target"]


@dataclass(frozen=True)
class Shown:
    """Texts of one class that a model was shown, and the aligned sites in them."""

    text_class: str
    texts: int
    sites: int = 0


@dataclass(frozen=True)
class Norms:
    """Norms of one layer's stream over all tokens that were read, template tokens among them.

    Args:
        median: The median.
        highest: The highest, that of an attention sink where there is one.
    """

    median: float
    highest: float

    def bound(self, ratio: float | None) -> float | None:
        """The norm above which a position is a sink; None where there is no sink.

        Args:
            ratio: How many times the median a sink has at least; None to know none.
        """
        if ratio is None or self.highest <= ratio * self.median:
            return None
        return ratio * self.median


@dataclass(frozen=True)
class StoredFile:
    """A file beside a result, as it was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Harvest:
    """The shared sites; the residuals lie beside the result, one file per side and layer.

    Args:
        text: Index of each site's text among the shared texts.
        message: Index of the message in its text.
        offset: Characters of the message up to the site; 0 after the first message is the end of
            a prompt.
        split: Index of each site's split in `SPLITS`; texts are split, not sites.
        n_texts: Shared texts.
        aligned_share: Share of each model's own sites that both have.
        dropped: Shared sites that are an outlier at any of the layers read, by side.
        left_out: Shared sites that are one in either model; no stage sees them.
        norms: Norms of the stream by side and layer.
        splits: Sites of each split.
        layers: Layers that were read, by side.
        files: The files of residuals.
        shown: Texts and sites by class.
    """

    text: Int[Tensor, " n_sites"]
    message: Int[Tensor, " n_sites"]
    offset: Int[Tensor, " n_sites"]
    split: Int[Tensor, " n_sites"]
    n_texts: int
    n_sites: int
    aligned_share: Mapping[SideName, float]
    dropped: Mapping[SideName, int]
    left_out: int
    norms: Mapping[SideName, Mapping[int, Norms]]
    splits: Mapping[str, int]
    layers: Mapping[SideName, tuple[int, ...]]
    files: Mapping[str, StoredFile]
    shown: tuple[Shown, ...]


SPLITS = ("fit", "select", "report")
