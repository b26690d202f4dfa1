"""Every name of a registry is in the docs, so that a new one cannot stay unexplained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conceptbasis.behaviors import BEHAVIORS
from conceptbasis.config.budgets import BUDGETS, TEXT_CLASSES
from conceptbasis.judges import JUDGES
from conceptbasis.methods import METHODS, with_role
from conceptbasis.models.architecture.table import ARCHITECTURES
from conceptbasis.stages import STAGES

DOCS = Path(__file__).parents[2] / "docs"
METHOD = (DOCS / "method.md").read_text()
REGISTRIES = {
    "methods": METHODS,
    "judges": JUDGES,
    "stages": [stage.name for stage in STAGES],
    "text classes": [row.name for row in TEXT_CLASSES],
    "architectures": ARCHITECTURES,
}


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_registered_name_is_explained(registry):
    assert not [name for name in REGISTRIES[registry] if f"`{name}`" not in METHOD]


def test_every_behavior_is_in_the_configuration():
    text = (DOCS / "configuration.md").read_text()
    assert not [name for name in BEHAVIORS if f"`{name}`" not in text]


def test_the_table_of_methods_has_every_method_in_its_role():
    part = re.search(r"<!-- methods -->(.*)<!-- /methods -->", METHOD, re.DOTALL)
    assert part is not None
    rows = dict(re.findall(r"^\| (\w+)[^|]* \| (.+) \|$", part[1], re.MULTILINE))
    for method in METHODS.values():
        assert f"`{method.name}`" in rows[method.role]
    assert {method.role for method in METHODS.values()} <= set(rows)


def test_the_table_of_budgets_says_which_classes_each_one_adds():
    for budget in BUDGETS:
        row = re.search(rf"^\| {budget.name} \| (.*?) \|", METHOD, re.MULTILINE)
        assert row is not None
        wanted = {row.name for row in TEXT_CLASSES if row.needs == budget.name}
        assert set(re.findall(r"`(\w+)`", row[1])) == wanted


def test_the_table_of_architectures_says_where_weight_edits_are_refused():
    for name, row in ARCHITECTURES.items():
        line = next(line for line in METHOD.splitlines() if f"| `{name}` |" in line)
        assert ("refused" in line) is row.post_norm
        assert row.attention_writer in line
        assert row.mlp_writer in line


def test_the_default_baselines_are_those_the_configuration_page_names():
    text = (DOCS / "configuration.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `baselines`"))
    assert not [m.name for m in with_role("baseline") if f"`{m.name}`" not in row]
    optional = [m.name for m in with_role("baseline") if not m.by_default]
    assert all(f"all but `{name}`" in row for name in optional)
