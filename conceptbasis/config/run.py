"""Configuration of a transfer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator

from conceptbasis.config.base import GivenTwice, Section, load_yaml, parse_config, parse_yaml
from conceptbasis.config.budgets import BudgetName
from conceptbasis.config.evaluation import (
    AtomsSection,
    CurveSection,
    EvaluateSection,
    FlowsSection,
)
from conceptbasis.config.extensions import load_extensions
from conceptbasis.config.prompts import PromptsSection
from conceptbasis.config.transfer import (
    AlignSection,
    DirectionSection,
    FitSection,
    ForecastSection,
    GuardSection,
    HarvestSection,
    MatchSection,
    ReplaySection,
    StabilitySection,
    TransferSection,
)
from conceptbasis.errors import ConfigError


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

    @field_validator("project")
    @classmethod
    def _is_a_name_for_wandb(cls, value: str) -> str:
        found = sorted(set(value) & set("/\\#?%:"))
        if found or not value.strip() or len(value) > 128:
            raise ValueError(
                "a project of wandb is named by 1 to 128 characters without / \\ # ? % :"
            )
        return value


class RunConfig(Section):
    """One transfer."""

    extensions: tuple[str, ...] = ()
    behavior: str = "refusal"
    budget: BudgetName = "B0d"
    seed: int = 0
    device: str = "cpu"
    n_workers: int = Field(default=2, ge=1)
    executor: str | None = None
    ray_address: str | None = None
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
    flows: FlowsSection = FlowsSection()
    tracking: TrackingSection = TrackingSection()

    @field_validator("ray_address")
    @classmethod
    def _is_of_ray(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is not None and info.data.get("executor", "ray") != "ray":
            raise ValueError("an address of Ray needs the executor ray: set executor to ray too")
        return address

    @field_validator("extensions")
    @classmethod
    def _load(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        load_extensions(names)  # the first field, so that what they register is known below
        return names


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
        return parse_yaml(text)
    except GivenTwice as error:
        raise ConfigError(
            f"--set {item!r}: {error.problem}",
            expected="each key once",
            fix="leave one of the two out",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {item!r}: the value is not YAML",
            expected="for example --set transfer.ridges='[0.1, 1]'",
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
