"""The documents name what the code writes: every field of every result, every figure of a run."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import conceptbasis.results as rooms
from conceptbasis.behaviors import find_behavior
from conceptbasis.methods import catalog
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.logged import logged_tables
from conceptbasis.report.logged_series import logged_series

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))
import document_artifacts
from synthetic_run import write_run

DOCS = document_artifacts.DOCUMENT.parent


def test_the_tables_of_artifacts_are_those_of_the_classes() -> None:
    text = document_artifacts.DOCUMENT.read_text(encoding="utf-8")
    assert document_artifacts.renewed(text) == text, "run scripts/document_artifacts.py"


def test_every_field_of_every_result_is_named() -> None:
    text = document_artifacts.DOCUMENT.read_text(encoding="utf-8")
    missing = []
    for path in Path(rooms.__path__[0]).glob("*.py"):
        module = __import__(f"conceptbasis.results.{path.stem}", fromlist=["_"])
        for kind in vars(module).values():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                names = [field.name for field in dataclasses.fields(kind)]
                missing += [f"{kind.__name__}.{n}" for n in names if f"`{n}`" not in text]
    assert missing == []


def test_the_page_about_wandb_names_what_is_logged(tmp_path: Path) -> None:
    text = (DOCS / "wandb.md").read_text(encoding="utf-8")
    run, behavior = RunFolder(write_run(tmp_path / "run")), find_behavior("refusal")
    words = behavior.words
    names = [f"`{n}`" for stage in run.provenance for n in logged_tables(run, stage, behavior)]
    assert len(names) > 8
    found = [s for stage in run.provenance for s in logged_series(run, stage, behavior)]
    series = {key for s in found for figures in s.rows.values() for key in figures}
    names += [key.rpartition("/")[2] for key in series if key.startswith("layers/")]
    names += [f"`{s.axis}`" for s in found]
    names += [f"`{words.rate_key}`", f"`{words.spillover_key}/safe`", f"`{words.recovered_key}`"]
    names += catalog.compared()
    assert [name for name in names if name not in text] == []
