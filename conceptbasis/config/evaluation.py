"""Sections of what is measured: evaluation, judges, curve, flows and the evidence of atoms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator

from conceptbasis.config.base import Section


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
    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)
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
    """Prompts, draws, judges and baselines of the evaluation; None are the default baselines."""

    max_new_tokens: int = Field(default=16, ge=1)
    batch_size: int = Field(default=300, ge=1)
    n_prompts: int | None = Field(default=None, ge=1)
    controls: bool = True
    n_random: int = Field(default=10, ge=1)
    n_shuffled: int = Field(default=10, ge=1)
    n_unrelated: int = Field(default=3, ge=1)
    n_control_prompts: int = Field(default=80, ge=1)
    n_kl_prompts: int = Field(default=32, ge=1)
    n_relevance: int = Field(default=64, ge=0)
    reference: str | None = None
    lengths: tuple[Annotated[int, Field(ge=1)], ...] = ()
    judge: JudgeSection | None = None
    margin: float = Field(default=0.02, gt=0, lt=1)
    baselines: tuple[str, ...] | None = None


class CurveSection(Section):
    """Behavior against damage: every method at the strengths that do the same damage."""

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


class FlowsSection(Section):
    """Behavior without each of the recipe's largest concepts, and with it alone."""

    n_flows: int = Field(default=0, ge=0)
    n_prompts: int = Field(default=100, ge=1)
