"""Sections of the stages that make a transfer: one frozen section each, of the stage's name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from conceptbasis.config.base import SINK_RATIO, Section
from conceptbasis.config.budgets import TextClassName

Mode = Literal["ablate", "affine", "cap", "add", "raise", "orthogonalise"]
Scope = Literal["stream", "writers"]
Centre = Literal["ends", "all", "both"]
Share = Annotated[float, Field(ge=0, lt=1)]


class HarvestSection(Section):
    """Shared text and aligned sites."""

    n_texts: int = Field(default=3000, ge=10)
    batch_size: int = Field(default=128, ge=1)
    layers_at_once: int | None = Field(default=None, ge=1)
    storage: Literal["float32", "bfloat16", "float16"] = "float32"
    without: tuple[TextClassName, ...] = ()
    end_of_prompt: bool = True
    max_norm_ratio: float = Field(default=SINK_RATIO, gt=1)
    splits: tuple[float, float, float] = (0.6, 0.2, 0.2)

    @model_validator(mode="after")
    def _shares_of_one(self) -> HarvestSection:
        if min(self.splits) <= 0 or abs(sum(self.splits) - 1) > 1e-6:
            raise ValueError(f"splits must be three positive shares of 1, not {self.splits}")
        return self


class MatchSection(Section):
    """When a donor latent is tied to a target latent."""

    top_k: int = Field(default=10, ge=1)
    one_to_one: bool = False
    r_min: float = Field(default=0.5, ge=0, le=1)
    fdr: float = Field(default=0.05, gt=0, lt=1)
    n_shifts: int | None = Field(default=None, ge=1)
    min_density: float = Field(default=1e-4, ge=0)
    end_of_prompt_share: float = Field(default=0.5, gt=0, lt=1)
    max_dead_share: float = Field(default=0.9, gt=0, le=1)


class AlignSection(Section):
    """Which donor layer stands for which target layer."""

    n_features: int = Field(default=32, ge=3)
    keep_variance: float = Field(default=0.99, gt=0, le=1)
    n_null: int = Field(default=10, ge=2)
    null_quantile: float = Field(default=0.95, gt=0, lt=1)
    max_depth_gap: float = Field(default=0.15, gt=0, le=1)
    depth_penalty: float = Field(default=0.7, ge=0)


class DirectionSection(Section):
    """The donor's directions and the published selection rule."""

    min_probe: float = Field(default=0.9, ge=0.5, le=1)
    max_kl: float = Field(default=0.1, gt=0)
    layer_fraction: float = Field(default=0.8, gt=0, le=1)
    n_select: int = Field(default=64, ge=8)
    min_rate: float = Field(default=0.5, ge=0, le=1)


class FitSection(Section):
    """The recipe."""

    n_atoms: int = Field(default=32, ge=1)
    mass: float = Field(default=0.9, gt=0, le=1)
    n_resamples: int = Field(default=200, ge=10)


class StabilitySection(Section):
    """Whether other direction prompts would have given the same recipe."""

    n_splits: int = Field(default=5, ge=0)


class TransferSection(Section):
    """How the recipe is rebuilt in the target."""

    route: str = "auto"
    n_atoms: int = Field(default=32, ge=1)
    ridges: tuple[PositiveFloat, ...] = Field(default=(0.1, 0.3, 1.0, 3.0), min_length=1)
    end_of_prompt_share: float = Field(default=0.85, gt=0, lt=1)
    benign_cosine: float = Field(default=0.95, gt=0, le=1)


class GuardSection(Section):
    """Weight-SVD guard: the smallest share of d_model that keeps perplexity within bounds."""

    max_perplexity_rise: float = Field(default=0.05, ge=0)
    shares: tuple[Share, ...] = Field(default=(0.0, 0.01, 0.02, 0.04, 0.08), min_length=1)
    forced: Share | None = None

    @field_validator("shares")
    @classmethod
    def _no_guard_is_tried(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if 0.0 not in shares:
            raise ValueError("shares must hold 0, since a guard that is not needed is none")
        return shares


class ForecastSection(Section):
    """Least values below which the forecast rejects a transfer before the edit."""

    min_eligible_mass: float = Field(default=0.1, ge=0, le=1)
    min_agreement: float = Field(default=0.3, ge=-1, le=1)
    min_neighbour_effect: float = 0.4
    n_proxies: int = Field(default=3, ge=1)
    n_proxy_prompts: int = Field(default=48, ge=8)
    force: bool = False


class ReplaySection(Section):
    """How the rebuilt directions are applied to the target."""

    mode: Mode = "affine"
    scope: Scope = "stream"
    gamma: float | Literal["auto"] = 1.0
    alpha: float = -4.0
    centre: Centre = "ends"
    offset: Annotated[float, Field(ge=0)] | Literal["auto"] = 0.5
    threshold: float = Field(default=0.8, ge=0, le=1)
    benign_kl: PositiveFloat = 0.02
    benign_shrinkage: PositiveFloat | None = 3.0
    sink_ratio: float | None = Field(default=SINK_RATIO, gt=1)
    max_random_kl: PositiveFloat = 1.0
    directions: Literal["single", "per_layer"] = "single"
    min_agreement: float = Field(default=-1.0, ge=-1, le=1)
    layers: Literal["all", "early", "last"] = "all"
    early_fraction: float = Field(default=0.8, gt=0, le=1)
    which: Literal["all", "attention"] = "all"

    @property
    def has_offset(self) -> bool:
        """Whether readings are set below their benign mean, by `offset`."""
        removes = self.gamma != "auto" and self.gamma > 0
        return self.mode in ("affine", "cap") and removes

    @model_validator(mode="after")
    def _weights_are_writers(self) -> ReplaySection:
        if self.mode == "orthogonalise" and self.scope != "writers":
            raise ValueError("mode orthogonalise edits weights: set replay.scope to writers")
        if self.mode in ("add", "affine", "cap", "raise") and self.scope != "stream":
            # Each writer would add the amount, or be set to the mean of the whole stream.
            raise ValueError(
                f"mode {self.mode} edits the stream: set replay.scope to stream, "
                "or replay.mode to ablate"
            )
        if self.gamma == "auto" and self.mode != "raise":
            raise ValueError(
                f"replay.gamma: auto finds a strength for mode raise, not {self.mode}: "
                "set replay.mode to raise, or replay.gamma to a number"
            )
        if self.offset == "auto" and self.mode != "cap":
            raise ValueError(
                f"replay.offset: auto finds an offset for mode cap, not {self.mode}: "
                "set replay.mode to cap, or replay.offset to a number"
            )
        if self.centre == "both" and self.mode != "cap":
            raise ValueError(
                f"replay.centre: both is for mode cap, not {self.mode}: "
                "set replay.mode to cap, or replay.centre to ends or all"
            )
        if self.mode == "raise" and self.gamma != "auto" and self.gamma >= 0:
            raise ValueError("mode raise strengthens: set replay.gamma to auto, or below 0")
        if self.mode == "cap" and self.gamma != "auto" and self.gamma <= 0:
            raise ValueError("mode cap removes: set replay.gamma above 0")
        if self.which == "attention" and self.mode != "orthogonalise":
            raise ValueError("replay.which: attention needs mode orthogonalise")
        return self
