"""docs/configuration.md lists every key of the configuration, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from conceptbasis.config.base import Section
from conceptbasis.config.budgets import budget_names
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.prompts import TextSourceSection
from conceptbasis.config.renamed import RENAMED
from conceptbasis.config.run import RunConfig

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def section_of(annotation) -> type[Section] | None:
    found = [o for o in (annotation, *get_args(annotation)) if isinstance(o, type)]
    return next((o for o in found if issubclass(o, Section)), None)


def keys_of(kind: type[Section], prefix: str = "") -> set[str]:
    """Every key below a section; a section is a key too."""
    found = set()
    for name, field in kind.model_fields.items():
        found.add(prefix + name)
        inner = section_of(field.annotation)
        if inner is not None:
            found |= keys_of(inner, f"{prefix}{name}.")
    return found


def chapter(title: str) -> str:
    """What stands under a heading, down to the next one of its level."""
    level = title.split(" ")[0]
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", TEXT, re.M | re.S)
    assert found, title
    return found[1]


def named(text: str) -> set[str]:
    """Keys in the first column of the tables."""
    rows = re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", text, re.M)
    return {key for row in rows for key in re.findall(r"`([\w.]+)`", row)}


def test_every_key_of_a_model_is_listed():
    """Sections are written out with their names, but for `saes.train`, which has its own table."""
    text = chapter("## Model configuration")
    expected = {key.removeprefix("saes.train.") for key in keys_of(ModelConfig)}
    assert named(text) == expected


@pytest.mark.parametrize("section", RunConfig.model_fields)
def test_every_key_of_a_run_is_listed_and_no_other(section):
    inner = section_of(RunConfig.model_fields[section].annotation)
    if inner is None:
        assert section in named(chapter("### Top level"))
        return
    listed = named(chapter(f"### `{section}`"))
    if section == "prompts":
        assert listed == set(inner.model_fields) | set(TextSourceSection.model_fields)
    else:
        assert listed == keys_of(inner)


def test_old_keys_are_not_listed_and_budgets_are():
    for old in RENAMED:
        assert f"`{old}`" not in TEXT
    for name in budget_names():
        assert f"`{name}`" in chapter("### Top level")
