"""`summary.json`: what others read of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.results.atoms import Halves
from conceptbasis.results.conditions import Condition
from conceptbasis.results.evaluation import BatchFlips, Kappa, LengthRates
from conceptbasis.results.harvest import Shown
from conceptbasis.results.layers import LayerPair, LayerPlan

SCHEMA = 4
"""Raised whenever a reader of the last one would misread or miss a field."""


@dataclass(frozen=True)
class SaeQuality:
    """An SAE at ordinary sites of held-out text.

    Args:
        layer: Its layer.
        d_sae: Latents.
        explained_variance: Share of the residuals' variance it reconstructs.
        l0: Active latents per site.
        dead_share: Latents that never fire there.
        ce_recovered: Cross-entropy recovered under the splice, 1 is all.
        holds: Whether an SAE from elsewhere holds on this text; None for one trained here.
    """

    layer: int
    d_sae: int
    explained_variance: float
    l0: float
    dead_share: float
    ce_recovered: float
    holds: bool | None = None


@dataclass(frozen=True)
class SideSaes:
    """The SAEs of one model.

    Args:
        hash: Over all of them.
        quality: One row per layer.
        warnings: How the model differs from what they were trained on.
        texts: Texts they were trained on by class; None where nobody can say.
        left_out: Share of sites of the text they are measured on that are left out as attention
            sinks or outliers; None in older runs.
    """

    hash: str
    quality: tuple[SaeQuality, ...]
    warnings: tuple[str, ...]
    texts: Mapping[str, int] | None
    left_out: float | None = None


@dataclass(frozen=True)
class SideSummary:
    """One model of a transfer with its SAEs."""

    name: str
    model: str
    revision: str | None
    n_layers: int
    d_model: int
    d_vocab: int
    hash: str
    saes: SideSaes


@dataclass(frozen=True)
class Verdict:
    """One word (`success`, `partial`, `failure`, `rejected`) and its reason."""

    word: str
    reason: str


@dataclass(frozen=True)
class RecipeSummary:
    """The size and firmness of the recipe, by mapped target layer."""

    n_atoms_per_layer: tuple[int, ...]
    n_target_atoms_per_layer: tuple[int, ...]
    donor_cosine_per_layer: tuple[float, ...]
    stability: Halves | None


@dataclass(frozen=True)
class MethodArea:
    """A method at equal damage."""

    area: Interval | None
    area_less_transfer: Interval | None
    rate_at_native_half: float | None


@dataclass(frozen=True)
class CurveSummary:
    """The curve in three figures a method."""

    kl_levels: tuple[float, ...]
    native_half_kl: float | None
    methods: Mapping[str, MethodArea]


@dataclass(frozen=True)
class Seeds:
    """Seeds of a run."""

    run: int
    prompts: int


@dataclass(frozen=True)
class Summary:
    """A run in one file; also written when the forecast rejects the transfer.

    Args:
        schema: `SCHEMA` of the version that wrote it.
        behavior: Name of the behavior that was transferred.
        donor: Where the intervention comes from.
        target: Where it was rebuilt.
        budget: What the target was allowed to be shown.
        ledger: What it was shown.
        seeds: Of run and prompts.
        mode: Form of the edit.
        scope: `stream` or `writers`.
        gamma: Strength; None where it was to be found and the transfer was rejected before.
        offset: Of `affine` and `cap`, in standard deviations; None for other modes, and where it
            was to be found and the transfer was rejected before.
        route: How the recipe reached the target.
        layer_map: Target and donor layer.
        plan: Edited layers, and whose direction each gets.
        max_new_tokens: Longest answer, since rates depend on it.
        verdict: One word with its reason.
        primary_judge: None for a rejected transfer.
        forecast: Figures of the forecast, None where one does not exist.
        recipe: Size and firmness.
        agreement_of_judges: Of every pair.
        batch_flips: None in float32.
        by_length: The rate over the length of the answer; empty where it was not measured.
        conditions: Empty for a rejected transfer.
        curve: None where it was not measured.
    """

    schema: int
    behavior: str
    donor: SideSummary
    target: SideSummary
    budget: str
    ledger: tuple[Shown, ...]
    seeds: Seeds
    mode: str
    scope: str
    gamma: float | None
    offset: float | None
    route: str
    layer_map: tuple[LayerPair, ...]
    plan: LayerPlan
    max_new_tokens: int
    verdict: Verdict
    primary_judge: str | None
    forecast: Mapping[str, Interval | None]
    recipe: RecipeSummary
    agreement_of_judges: tuple[Kappa, ...]
    batch_flips: BatchFlips | None
    by_length: tuple[LengthRates, ...]
    conditions: tuple[Condition, ...]
    curve: CurveSummary | None
