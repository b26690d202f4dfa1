"""Quality of SAEs on text they were not trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.moments import explained_variance
from conceptbasis.data.prompts import Text
from conceptbasis.errors import SaeError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.residuals import Residuals, read_residuals
from conceptbasis.results.summary import SaeQuality
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.replaced import BATCH_OF_TEXTS, Replaced
from conceptbasis.saes.sae import Sae

Histogram = tuple[list[int], list[float]]
Histograms = Mapping[int, Mapping[str, Histogram]]
"""By layer and name, counts and edges."""
_BINS = 32
MIN_EXPLAINED_VARIANCE = 0.5
"""Below it an SAE from elsewhere is said not to hold on chat text of a model."""


N_SPLICED = 64
"""Texts on which the cross-entropy recovered is measured."""


def measure_quality(
    loaded: LoadedModel,
    saes: Mapping[int, Sae],
    texts: Sequence[Text],
    read: OrdinaryTexts,
) -> tuple[SaeQuality, ...]:
    """Quality of SAEs at ordinary sites of texts they were not trained on, one row per layer.

    `ce_recovered` is (CE_zero − CE_spliced) / (CE_zero − CE_untouched), where the layer's output
    is replaced by zero or by the reconstruction. Positions that are an outlier at any of the
    layers stay as they are in both. It is measured on `N_SPLICED` of the texts, since every layer
    takes two more passes over all logits; all else is measured on all of them.

    Args:
        loaded: The model.
        saes: By layer.
        texts: What it reads.
        read: Residuals at the ordinary sites of these texts.

    Raises:
        SaeError: if an SAE gives codes that are not finite.
    """
    spread = texts[:: max(1, len(texts) // N_SPLICED)][:N_SPLICED]
    model = Replaced(loaded, [text.as_messages() for text in spread], read.bounds)
    untouched, residuals = model.cross_entropy(), read.residuals
    rows = []
    for layer, sae in sorted(saes.items()):
        codes = sae.encode(residuals[layer])
        if not torch.isfinite(codes).all():
            raise SaeError(
                f"the SAE of layer {layer} ({sae.name}) gives codes that are not finite",
                expected="finite codes",
                fix="check its weights and its activation normalisation",
            )
        spliced = model.cross_entropy(layer, sae.reconstruct)
        zero = model.cross_entropy(layer, torch.zeros_like)
        rebuilt = sae.reconstruct(residuals[layer])
        rows.append(
            SaeQuality(
                layer,
                sae.d_sae,
                explained_variance=explained_variance(residuals[layer], rebuilt),
                l0=float((codes != 0).sum(1).float().mean()),
                dead_share=float(((codes != 0).sum(0) == 0).float().mean()),
                ce_recovered=(zero - spliced) / (zero - untouched),
            )
        )
    return tuple(rows)


def judge_quality(rows: Sequence[SaeQuality]) -> tuple[SaeQuality, ...]:
    """Adds to each row of `measure_quality` whether the SAE holds on this text."""
    least = MIN_EXPLAINED_VARIANCE
    return tuple(replace(row, holds=row.explained_variance >= least) for row in rows)


@dataclass(frozen=True)
class OrdinaryTexts:
    """Residuals of texts at the sites that are no outlier at any of the layers.

    Args:
        residuals: By layer.
        bounds: By layer, the norm above which a position is an outlier; None where none is.
        left_out: Share of the sites that are left out.
    """

    residuals: Mapping[int, Float[Tensor, "n d_model"]]
    bounds: Mapping[int, float | None]
    left_out: float

    @classmethod
    def of(cls, read: Residuals, ratio: float) -> OrdinaryTexts:
        """The ordinary sites of what was read.

        Args:
            read: Residuals at all sites.
            ratio: How many times the median an outlier has at least.

        Raises:
            NumericsError: if no site is left.
        """
        kept = read.without_outliers(ratio)
        left_out = 1 - len(kept.sites) / len(read.sites)
        return cls(kept.values, read.bounds(ratio), left_out)


def read_texts(
    loaded: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[int],
    reporter: Reporter,
    label: str,
    *,
    max_norm_ratio: float,
) -> OrdinaryTexts:
    """Residuals of some layers at the ordinary sites of texts, ends of prompts included.

    Args:
        loaded: The model.
        texts: What it reads.
        layers: Blocks after which residuals are read; a site is left out at all of them where it
            is an outlier at one.
        reporter: Told the progress, and how many sites are left out.
        label: Names the work.
        max_norm_ratio: How many times the median an outlier has at least.
    """
    read = read_residuals(
        loaded,
        texts,
        layers,
        batch_size=BATCH_OF_TEXTS,
        end_of_prompt=True,
        reporter=reporter,
        label=label,
    )
    found = OrdinaryTexts.of(read, max_norm_ratio)
    if found.left_out:
        reporter.say(
            f"{label}: {found.left_out:.1%} of {len(read.sites):,} sites are left out as attention "
            "sinks or outliers"
        )
    return found


def all_histograms(
    saes: Mapping[int, Sae], residuals: Mapping[int, Float[Tensor, "n d_model"]]
) -> dict[int, dict[str, Histogram]]:
    """Histograms of every layer's SAE on residuals that it was not trained on."""
    return {layer: code_histograms(sae.encode(residuals[layer])) for layer, sae in saes.items()}


def quality_line(rows: Sequence[SaeQuality]) -> str:
    """One line on whether SAEs from elsewhere hold on chat text of this model.

    Args:
        rows: What `judge_quality` returned.
    """
    found = [row.explained_variance for row in rows]
    said = f"explained variance on chat text {min(found):.2f} to {max(found):.2f}"
    failing = [str(row.layer) for row in rows if not row.holds]
    if not failing:
        return f"{said}, they hold"
    return (
        f"{said}, below {MIN_EXPLAINED_VARIANCE} at layers {', '.join(failing)}: there they do not "
        "hold; leave these layers out of `layers`, or train SAEs on chat text (saes.train)"
    )


def code_histograms(codes: Float[Tensor, "n d_sae"]) -> dict[str, Histogram]:
    """Counts and edges of active features per site and of firing densities.

    Dead features have no density; they stand below the least one that can be measured.

    Args:
        codes: Codes of held-out sites.
    """
    fires = codes != 0
    per_site = fires.sum(1).double()
    floor = -math.log10(len(codes)) - 1
    densities = fires.double().mean(0).log10().clamp(min=floor)
    return {
        "l0": _histogram(per_site, 0.0, float(per_site.max()) + 1),
        "log10_density_dead_lowest": _histogram(densities, floor, 0.0),
    }


def _histogram(values: Tensor, low: float, high: float) -> Histogram:
    counts, edges = torch.histogram(values, bins=_BINS, range=(low, high))
    return counts.int().tolist(), edges.tolist()
