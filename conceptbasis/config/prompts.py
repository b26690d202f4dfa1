"""Configuration of prompts and texts: a folder, files, data sets of the hub, and presets."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from conceptbasis.config.base import Section
from conceptbasis.config.budgets import TextClassName


class SourceSection(Section):
    """Rows of a file, of a data set of the hub, or of a preset."""

    preset: str | None = None
    dataset: str | None = None
    file: str | None = None
    revision: str | None = None
    subset: str | None = None
    split: str = "train"
    where: dict[str, str | list[str]] = Field(default={})
    rows: str | None = None
    column: str | None = None
    answer: str | None = None
    noun: str | None = None
    kind: str | None = None

    @field_validator("rows")
    @classmethod
    def _two_numbers(cls, rows: str | None) -> str | None:
        if rows is not None and not re.fullmatch(r"\d*:\d*", rows):
            raise ValueError(f"rows must be of the form FROM:TO, such as 0:200, not {rows!r}")
        return rows

    @model_validator(mode="after")
    def _exactly_one(self) -> SourceSection:
        given = [n for n in ("preset", "dataset", "file") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of preset, dataset, file; got {given or 'none'}")
        if self.dataset is not None and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"data set {self.dataset}: `revision` must be a commit of 40 hexadecimal digits "
                "(its page lists them under Files, History), since a branch moves"
            )
        if self.dataset is None and (self.revision or self.subset):
            raise ValueError("revision and subset are those of a `dataset`")
        return self


class TextSourceSection(SourceSection):
    """Rows that are read as shared text of one class."""

    text_class: TextClassName


World: TypeAlias = Literal[
    "organisms", "backdoor-word", "backdoor-phrase", "backdoor-style", "tuned"
]


class PromptsSection(Section):
    """The prompt suite: a folder, sources, or a built-in world when there is neither.

    `world` says which: the closed world of organisms, that world with the triggers of a backdoor,
    or plain English for tuned models. The names of `sets` are those that the behavior knows; they
    are checked when the suite is built. `concepts` takes those of the suite, or the twenty for
    chat models that come with the package.
    """

    path: str | None = None
    world: World = "organisms"
    seed: int = 0
    concepts: Literal["suite", "chat"] = "suite"
    sets: dict[str, SourceSection] = Field(default={})
    texts: tuple[TextSourceSection, ...] = ()
    overlap: Literal["refuse", "drop"] = "refuse"
