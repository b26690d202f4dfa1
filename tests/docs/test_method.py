"""docs/method.md names code that exists, and the stages in their order."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from conceptbasis.config.model import SaeSource
from conceptbasis.stages import STAGES

ROOT = Path(__file__).parents[2]
ROOMS = sorted(p.parent.name for p in (ROOT / "conceptbasis").glob("*/__init__.py"))
FILES = (".json", ".yaml", ".jsonl", ".npz", ".safetensors", ".md")
DOCS = ("README.md", "docs/method.md", "docs/extending.md")


def code_names(text: str) -> set[str]:
    """Dotted names in backticks that begin with a room of the package, or `pipeline`."""
    rooms = "|".join([*ROOMS, "pipeline"])
    found = re.findall(rf"`(?:conceptbasis\.)?((?:{rooms})(?:\.\w+)+)`", text)
    keys = tuple(f"saes.{key}" for key in SaeSource.model_fields)  # of a model's file
    return {name for name in found if not name.endswith(FILES) and not name.startswith(keys)}


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something inside one."""
    parts = ["conceptbasis", *name.split(".")]
    for cut in range(len(parts), 1, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", DOCS)
def test_every_dotted_name_exists(page):
    missing = sorted(n for n in code_names((ROOT / page).read_text()) if not exists(n))
    assert not missing


def test_method_names_code_of_every_stage():
    text = (ROOT / "docs/method.md").read_text()
    assert len(code_names(text)) > 100
    assert not [s.name for s in STAGES if f"`stages.{s.name}.{s.name.upper()}`" not in text]


def test_a_name_that_does_not_exist_is_found():
    """Negative control."""
    text = "`core.features.partners.no_such_function`, `stages.no_such_stage`, `config.json`"
    names = code_names(text)
    assert len(names) == 2
    assert not any(exists(name) for name in names)


def test_the_order_of_the_stages_is_that_of_the_pipeline():
    text = (ROOT / "docs/method.md").read_text()
    said = re.search(r"<!-- stages -->(.*)<!-- /stages -->", text, re.DOTALL)
    assert said is not None
    names = re.findall(r"`(\w+)`|\*(seal)\*", said[1])
    order = [stage.name for stage in STAGES]
    first = next(stage.name for stage in STAGES if stage.reads_labels)
    order.insert(order.index(first), "seal")
    assert [stage or seal for stage, seal in names] == order


def test_links_inside_the_docs_lead_somewhere():
    broken = []
    for page in ("README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))):
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", text):
            if "://" in target or not target:
                continue
            if not ((ROOT / page).parent / target).exists():
                broken.append((page, target))
    assert not broken


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_to_sections_lead_somewhere():
    broken = []
    for page in ("README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))):
        text = (ROOT / page).read_text()
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", text):
            if "://" in target:
                continue
            other = (ROOT / page).parent / target if target else ROOT / page
            if other.exists() and anchor not in anchors(other.read_text()):
                broken.append((page, f"{target}#{anchor}"))
    assert not broken
