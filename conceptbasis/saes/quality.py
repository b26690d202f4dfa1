"""Quality of SAEs on text they were not trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.moments import explained_variance
from conceptbasis.data.prompts import Text
from conceptbasis.errors import SaeError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.hooks import splice
from conceptbasis.models.stream.residuals import read_residuals
from conceptbasis.models.text.generation import text_nll
from conceptbasis.results.summary import SaeQuality
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.sae import Sae

BATCH_OF_TEXTS = 128
Histogram = tuple[list[int], list[float]]
Histograms = Mapping[int, Mapping[str, Histogram]]
"""By layer and name, counts and edges."""
_BINS = 32
MIN_EXPLAINED_VARIANCE = 0.5
"""Below it an SAE from elsewhere is said not to hold on chat text of a model."""


def measure_quality(
    loaded: LoadedModel,
    saes: Mapping[int, Sae],
    texts: Sequence[Text],
    residuals: Mapping[int, Float[Tensor, "n d_model"]],
) -> tuple[SaeQuality, ...]:
    """Quality of SAEs on texts they were not trained on, one row per layer.

    `ce_recovered` is (CE_zero − CE_spliced) / (CE_zero − CE_untouched), where the layer's output
    is replaced by zero or by the reconstruction.

    Raises:
        SaeError: if an SAE gives codes that are not finite.
    """
    messages = [text.as_messages() for text in texts]
    untouched = _cross_entropy(loaded, messages)
    rows = []
    for layer, sae in sorted(saes.items()):
        codes = sae.encode(residuals[layer])
        if not torch.isfinite(codes).all():
            raise SaeError(
                f"the SAE of layer {layer} ({sae.name}) gives codes that are not finite",
                expected="finite codes",
                fix="check its weights and its activation normalisation",
            )
        with splice(loaded, {layer: sae.reconstruct}):
            spliced = _cross_entropy(loaded, messages)
        with splice(loaded, {layer: torch.zeros_like}):
            zero = _cross_entropy(loaded, messages)
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


def read_texts(
    loaded: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[int],
    reporter: Reporter,
    label: str,
) -> Mapping[int, Float[Tensor, "n d_model"]]:
    """Residuals of some layers at every site of texts, ends of prompts included."""
    return read_residuals(
        loaded,
        texts,
        layers,
        batch_size=BATCH_OF_TEXTS,
        end_of_prompt=True,
        reporter=reporter,
        label=label,
    ).values


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


def _cross_entropy(loaded: LoadedModel, texts: Sequence[Any]) -> float:
    nll, tokens = text_nll(loaded, list(texts), batch_size=BATCH_OF_TEXTS)
    return float(nll.sum() / tokens.sum())
