"""Configuration of a transfer: one frozen section for each stage, of the stage's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveFloat, field_validator, model_validator

from conceptbasis.config.base import Budget, Section, TextClass, load_yaml, parse_config
from conceptbasis.config.prompts import PromptsSection
from conceptbasis.errors import ConfigError

Baseline = Literal[
    "least_squares",
    "affine",
    "relu_map",
    "procrustes",
    "contrast_ridge",
    "contrast_ridge_stream",
]
Mode = Literal["ablate", "affine", "add", "raise", "orthogonalise"]
Scope = Literal["stream", "writers"]
Share = Annotated[float, Field(ge=0, lt=1)]


class HarvestSection(Section):
    """Shared text and aligned sites."""

    n_texts: int = Field(default=3000, ge=10)
    batch_size: int = Field(default=128, ge=1)
    layers_at_once: int | None = Field(default=None, ge=1)
    storage: Literal["float32", "bfloat16", "float16"] = "float32"
    without: tuple[TextClass, ...] = ()
    end_of_prompt: bool = True
    max_norm_ratio: float = Field(default=10.0, gt=1)
    splits: tuple[float, float, float] = (0.6, 0.2, 0.2)

    @model_validator(mode="after")
    def _shares_of_one(self) -> HarvestSection:
        if min(self.splits) <= 0 or abs(sum(self.splits) - 1) > 1e-6:
            raise ValueError(f"splits must be three positive shares of 1, not {self.splits}")
        return self


class MatchSection(Section):
    """When a donor feature is tied to a target feature."""

    top_k: int = Field(default=10, ge=1)
    one_to_one: bool = False
    r_min: float = Field(default=0.5, ge=0, le=1)
    fdr: float = Field(default=0.05, gt=0, lt=1)
    n_shifts: int = Field(default=3, ge=1)
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
    """The donor's trajectory and the published selection rule."""

    min_probe: float = Field(default=0.9, ge=0.5, le=1)
    max_kl: float = Field(default=0.1, gt=0)
    layer_fraction: float = Field(default=0.8, gt=0, le=1)
    n_select: int = Field(default=64, ge=8)
    min_refusal: float = Field(default=0.5, ge=0, le=1)


class FitSection(Section):
    """The recipe."""

    n_atoms: int = Field(default=32, ge=1)
    mass: float = Field(default=0.9, gt=0, le=1)
    n_resamples: int = Field(default=200, ge=10)
    method: Literal["code_difference", "omp"] = "code_difference"


class StabilitySection(Section):
    """Whether other direction prompts would have given the same recipe."""

    n_splits: int = Field(default=5, ge=0)


class TransferSection(Section):
    """How the recipe is rebuilt in the target."""

    basis: Literal["auto", "code_map", "transported", "matched"] = "auto"
    n_atoms: int = Field(default=32, ge=1)
    strengths: tuple[PositiveFloat, ...] = Field(default=(0.1, 0.3, 1.0, 3.0), min_length=1)
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
    """Least values below which a transfer is declined before the edit."""

    min_eligible_mass: float = Field(default=0.1, ge=0, le=1)
    min_agreement: float = Field(default=0.3, ge=-1, le=1)
    min_decline_effect: float = 0.4
    n_proxies: int = Field(default=3, ge=1)
    n_proxy_prompts: int = Field(default=48, ge=8)
    force: bool = False


class ReplaySection(Section):
    """How the rebuilt trajectory is applied to the target."""

    mode: Mode = "affine"
    scope: Scope = "stream"
    gamma: float | Literal["auto"] = 1.0
    alpha: float = -4.0
    offset: float = Field(default=0.5, ge=0)
    threshold: float = Field(default=0.8, ge=0, le=1)
    benign_kl: PositiveFloat = 0.02
    benign_shrinkage: PositiveFloat | None = 3.0
    directions: Literal["single", "trajectory"] = "single"
    layers: Literal["all", "early", "last"] = "all"
    early_fraction: float = Field(default=0.8, gt=0, le=1)
    which: Literal["all", "attention"] = "all"

    @model_validator(mode="after")
    def _weights_are_writers(self) -> ReplaySection:
        if self.mode == "orthogonalise" and self.scope != "writers":
            raise ValueError("mode orthogonalise edits weights: set replay.scope to writers")
        if self.mode in ("add", "affine", "raise") and self.scope != "stream":
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
        if self.mode == "raise" and self.gamma != "auto" and self.gamma >= 0:
            raise ValueError("mode raise strengthens: set replay.gamma to auto, or below 0")
        if self.which == "attention" and self.mode != "orthogonalise":
            raise ValueError("replay.which: attention needs mode orthogonalise")
        return self


class AtomsSection(Section):
    """Evidence of what the recipe's atoms stand for."""

    n_prompts: int = Field(default=128, ge=1)
    n_contexts: int = Field(default=6, ge=1, le=6)
    n_words: int = Field(default=8, ge=1)
    n_leave_out: int = Field(default=3, ge=0)
    min_similarity: float = Field(default=0.6, ge=-1, le=1)


class JudgeSection(Section):
    """A model that judges answers beside the phrases (docs/configuration.md, "A judging model")."""

    model: str
    revision: str | None = None
    kind: Literal["classifier", "guard"]
    refusal: tuple[str, ...] = Field(min_length=1)
    answer: tuple[str, ...] = Field(min_length=1)
    template: str | None = None
    min_probability: float = Field(default=0.5, ge=0, le=1)
    max_new_tokens: int = Field(default=32, ge=1)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    offline: bool = False

    @field_validator("template")
    @classmethod
    def _reads_the_answer(cls, template: str | None) -> str | None:
        if template is not None and "{answer}" not in template:
            raise ValueError("the template must hold {answer}, and {prompt} if it is to be read")
        return template


class EvaluateSection(Section):
    """Prompts, draws and judges of the evaluation."""

    max_new_tokens: int = Field(default=16, ge=1)
    batch_size: int = Field(default=300, ge=1)
    n_prompts: int | None = Field(default=None, ge=1)
    controls: bool = True
    n_random: int = Field(default=10, ge=1)
    n_shuffled: int = Field(default=10, ge=1)
    n_unrelated: int = Field(default=3, ge=1)
    n_control_prompts: int = Field(default=80, ge=1)
    n_kl_prompts: int = Field(default=32, ge=1)
    judge: JudgeSection | None = None
    margin: float = Field(default=0.02, gt=0, lt=1)
    baselines: tuple[Baseline, ...] = (
        "least_squares",
        "affine",
        "procrustes",
        "contrast_ridge",
        "contrast_ridge_stream",
    )


class CurveSection(Section):
    """Refusal against damage: every method at the strengths that do the same damage."""

    measure: bool = False
    mode: Literal["ablate", "affine"] = "affine"
    kl_levels: tuple[PositiveFloat, ...] = Field(
        default=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04), min_length=1
    )
    perplexity_rise: float = Field(default=0.01, gt=0)
    max_strength: float = Field(default=1.0, gt=0)
    n_strengths: int = Field(default=10, ge=2)
    n_prompts: int = Field(default=150, ge=1)

    @field_validator("kl_levels")
    @classmethod
    def _ascending(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if list(levels) != sorted(set(levels)):
            raise ValueError(f"kl_levels must ascend, not {list(levels)}")
        return levels


class LinesSection(Section):
    """Refusal without each of the recipe's largest concepts, and with it alone."""

    n_lines: int = Field(default=0, ge=0)
    n_prompts: int = Field(default=100, ge=1)


class TrackingSection(Section):
    """Logging to wandb; `auto` is online with a key and offline without one."""

    mode: Literal["auto", "online", "offline", "off"] = "auto"
    project: str = "conceptbasis"
    entity: str | None = None
    group: str | None = None

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_reads_off_as_false(cls, value: Any) -> Any:
        return "off" if value is False else value


class RunConfig(Section):
    """One transfer."""

    budget: Budget = "B0d"
    seed: int = 0
    device: str = "cpu"
    n_workers: int = Field(default=2, ge=1)
    prompts: PromptsSection = PromptsSection()
    harvest: HarvestSection = HarvestSection()
    match: MatchSection = MatchSection()
    align: AlignSection = AlignSection()
    direction: DirectionSection = DirectionSection()
    fit: FitSection = FitSection()
    transfer: TransferSection = TransferSection()
    stability: StabilitySection = StabilitySection()
    guard: GuardSection = GuardSection()
    forecast: ForecastSection = ForecastSection()
    replay: ReplaySection = ReplaySection()
    atoms: AtomsSection = AtomsSection()
    evaluate: EvaluateSection = EvaluateSection()
    curve: CurveSection = CurveSection()
    lines: LinesSection = LinesSection()
    tracking: TrackingSection = TrackingSection()


def load_run_config(path: Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run configuration and applies `section.key=value` overrides on top."""
    values = load_yaml(path) if path else {}
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise ConfigError(
                f"--set {item!r} is not of the form key=value",
                expected="for example --set fit.n_atoms=16",
                fix="put an equals sign between key and value, without spaces",
            )
        _assign(values, key.split("."), _value(text, item), item)
    return parse_config(RunConfig, values, str(path) if path else "run configuration")


def _value(text: str, item: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {item!r}: the value is not YAML",
            expected="for example --set transfer.strengths='[0.1, 1]'",
            fix="close brackets and quotes, and quote the whole option for the shell",
        ) from error


def _assign(values: dict[str, Any], keys: list[str], value: Any, item: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigError(
                f"--set {item!r}: {key} is not a section",
                expected="section.key=value",
                fix="check the key's name in docs/configuration.md",
            )
    values[keys[-1]] = value
