"""Every example runs: those of docstrings, and the code of docs/python.md."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

import conceptbasis as cb

ROOT = Path(__file__).parents[2]
MODULES = [importlib.import_module(f"conceptbasis.api.{name}") for name in cb._MODULES]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


PARTS = {n: v for n, v in vars(cb.Run).items() if n[0] != "_" and n not in ("folder", "summary")}


def examples():
    finder, parser = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestParser()
    found = [test for module in MODULES for test in finder.find(module)]
    for name, part in PARTS.items():  # doctest does not look into cached properties
        if isinstance(part, cached_property):
            found.append(parser.get_doctest(part.__doc__, {}, f"Run.{name}", None, None))
    return [test for test in found if test.examples]


def names_used(code: str) -> set[str]:
    return {n.attr for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Attribute)}


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_an_example_of_a_docstring_runs(test, desk):
    test.globs.update(cb=cb, np=np, model=desk.model)
    said: list[str] = []
    found = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not found.failed, "".join(said)


def test_every_public_function_and_every_part_of_a_run_has_an_example():
    have = {test.name.rpartition(".")[2] for test in examples()}
    functions = {"load_run", "match", "svcca", "train_saes", "transfer", "judge", "circuits"}
    assert functions | {*PARTS} <= have


def test_an_example_that_is_wrong_fails():
    """Negative control."""
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(wrong, out=lambda text: None).failed == 1


def test_the_page_runs_from_top_to_bottom(desk):
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    names = {"np": np, "model": desk.model, "tokenizer": desk.tokenizer}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    used = set().union(*map(names_used, blocks))
    assert {*cb.__all__} - {
        "__version__",
        "Run",
        "Similarity",
        "TrainedSaes",
        "CircuitStudy",
    } <= used
    assert {*PARTS} <= used
