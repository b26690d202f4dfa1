"""Which change of the code computes a stage anew: of what it runs, and of nothing else."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

import conceptbasis
from conceptbasis.runs import code
from conceptbasis.runs.code import changed_code, code_of

FILES = {
    "__init__.py": "",
    "stages/__init__.py": "from house.stages.fit import fit\n",
    "stages/fit.py": '''"""A stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from house.core import numbers
from house.core.sums import TABLE, total as add
from house.errors import Broken
from house.runs.files import write

if TYPE_CHECKING:
    from house.study.study import Study


def fit(study: Study) -> float:
    """Fits."""
    # A comment.
    write(study)
    if study is None:
        raise Broken
    return add(study.values()) + numbers.half(1.0) + TABLE["one"]()


def other() -> int:
    return 3
''',
    "core/__init__.py": "",
    "core/numbers.py": "def half(x):\n    return x / 2\n\n\ndef third(x):\n    return x / 3\n",
    "core/sums.py": '''"""Sums."""

from house.core.ways import WAYS
from house.core.scale import SCALE as factor

UNUSED = 1
START: float = 0.0


def total(values):
    return START + factor * sum(values)


def unused():
    return UNUSED


TABLE = {way.__name__: way for way in WAYS}
''',
    "core/scale.py": "SCALE = 2\n",
    "core/ways.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n\n\nWAYS = (one,)\n",
    "study/__init__.py": "",
    "study/study.py": '''"""The study."""

from dataclasses import dataclass

from house.study.side import Side


@dataclass
class Study:
    """A study."""

    side: "Side"

    def values(self):
        """Its values."""
        return self.side.values


class Unused:
    pass
''',
    "study/side.py": "class Side:\n    values = (1, 2)\n",
    "errors.py": "class Broken(Exception):\n    pass\n",
    "runs/__init__.py": "",
    "runs/files.py": "def write(x):\n    return x\n",
}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A package in a folder, which stands for ours; a function changes a file of it."""
    root = tmp_path / "house"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(code, "_ROOT", "house")
    monkeypatch.setattr(code, "_PLACE", root)
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(code, "_KNOWN", code._Known())
    forget()
    yield root
    forget()


def forget() -> None:
    """Sources are read once a process."""
    for kept in (code._parse, code._file):
        kept.cache_clear()


def stage(module: str = "house.stages.fit", name: str = "fit") -> types.FunctionType:
    """The function as the package would give it; only its name and module are looked at."""

    def fit() -> None:
        raise AssertionError("called")

    fit.__module__, fit.__qualname__ = module, name
    return fit


def changed(root: Path, name: str, old: str, new: str) -> list[str]:
    """What differs once a text of a file is replaced."""
    before = code_of(stage())
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))
    forget()
    return changed_code(before, code_of(stage()))


def test_what_a_stage_runs_is_followed_through_the_package(house):
    assert list(code_of(stage())) == [
        "core.numbers.half",
        "core.numbers.third",
        "core.scale.SCALE",
        "core.sums.START",
        "core.sums.TABLE",
        "core.sums.total",
        "core.ways.WAYS",
        "core.ways.one",
        "stages.fit.fit",
        "study.side.Side",
        "study.study.Study",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "named"),
    [
        ("stages/fit.py", "half(1.0)", "half(2.0)", "stages.fit.fit"),
        ("core/sums.py", "factor * sum(values)", "factor * max(values)", "core.sums.total"),
        ("core/numbers.py", "x / 2", "x / 4", "core.numbers.half"),
        ("core/scale.py", "SCALE = 2", "SCALE = 3", "core.scale.SCALE"),
        ("core/sums.py", "START: float = 0.0", "START: float = 1.0", "core.sums.START"),
        ("study/study.py", "return self.side.values", "return ()", "study.study.Study"),
        ("study/side.py", "values = (1, 2)", "values = (1, 3)", "study.side.Side"),
        ("core/ways.py", "return 1", "return 3", "core.ways.one"),
    ],
    ids=[
        "the function itself",
        "a function under another name",
        "a function of an imported module",
        "a constant under another name",
        "a constant with a type",
        "a class that only an annotation names",
        "a class of a field of it",
        "an entry of a registry",
    ],
)
def test_a_change_of_what_it_runs_is_named(house, name, old, new, named):
    assert changed(house, name, old, new) == [named]


def test_what_comes_or_goes_is_named_too(house):
    found = changed(house, "core/ways.py", "WAYS = (one,)", "WAYS = (one, two)")
    assert found == ["core.ways.WAYS", "core.ways.two"]
    found = changed(house, "stages/fit.py", ' + TABLE["one"]()', "")
    assert "core.sums.TABLE" in found
    assert "core.ways.one" in found
    assert "core.sums.total" not in found


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stages/fit.py", '"""Fits."""', '"""Fits well,\n    and says more."""'),
        ("stages/fit.py", "    # A comment.\n", "    # Another one.\n\n"),
        ("stages/fit.py", '"""A stage."""', '"""Another stage."""'),
        ("study/study.py", '        """Its values."""\n', ""),
        ("core/sums.py", "def total(values):\n", "def total(\n    values,\n):\n"),
        ("stages/fit.py", "return 3", "return 4"),
        ("core/sums.py", "UNUSED = 1", "UNUSED = 2"),
        ("core/ways.py", "return 2", "return 4"),
        ("study/study.py", "class Unused:\n    pass", "class Unused:\n    x = 1"),
        ("errors.py", "    pass", "    x = 1"),
        ("runs/files.py", "return x", "return (x,)"),
    ],
    ids=[
        "a docstring",
        "a comment",
        "the docstring of the module",
        "a docstring that goes",
        "the layout",
        "a function beside it",
        "a constant that nothing uses",
        "a function outside the registry",
        "a class beside it",
        "an error",
        "the moving of files",
    ],
)
def test_a_change_of_anything_else_is_no_reason(house, name, old, new):
    assert changed(house, name, old, new) == []


def test_names_come_through_the_front_of_a_room(house):
    assert list(code_of(stage("house.stages"))) == list(code_of(stage()))


def test_a_room_is_ignored_by_its_whole_name(house):
    """`runs_more` is no part of `runs`, and another package may begin like ours."""
    (house / "runs_more.py").write_text("def write(x):\n    return x\n")
    text = FILES["stages/fit.py"].replace("house.runs.files", "house.runs_more")
    (house / "stages/fit.py").write_text(text)
    forget()
    assert "runs_more.write" in code_of(stage())


def test_an_extension_is_followed_into_the_package(house, tmp_path, monkeypatch):
    text = "from house.core.numbers import half\n\n\ndef mine(x):\n    return half(x)\n"
    (tmp_path / "house_extension.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = code_of(stage("house_extension", "mine"))
    assert list(found) == ["core.numbers.half", "house_extension.mine"]
    sys.modules.pop("house_extension", None)


def test_stages_of_the_package_reach_what_they_compute_with():
    from conceptbasis.stages import STAGES

    reached = {stage.name: set(code_of(stage.compute)) for stage in STAGES}
    assert "core.directions.recipe.fit_recipe" in reached["fit"]
    assert "study.study.Study" in reached["fit"]
    assert "methods.rebuilder.Rebuilder" in reached["transfer"]
    assert "judges.phrases.PHRASES" in reached["direction"]
    assert "methods.random_direction.RANDOM_DIRECTION" in reached["evaluate"]
    assert "core.features.matching.eligible_pairs" not in reached["direction"]
    for found in reached.values():
        assert not {n for n in found if n.startswith(("errors.", "config.", "runs.", "report."))}
    modules = {n.rpartition(".")[0] for found in reached.values() for n in found}
    package = Path(conceptbasis.__file__).parent
    assert all(
        package.joinpath(*m.split(".")).with_suffix(".py").exists()
        or package.joinpath(*m.split("."), "__init__.py").exists()
        for m in modules
    )


def test_what_was_parsed_is_remembered_while_files_stay(house, monkeypatch):
    first = code.code_of(stage())
    forget()
    monkeypatch.setattr(code, "_KNOWN", code._Known())  # as in another process
    parse = code._parse_file
    monkeypatch.setattr(code, "_parse_file", lambda path: pytest.fail(f"parsed again: {path}"))
    assert code.code_of(stage()) == first
    monkeypatch.setattr(code, "_parse_file", parse)
    scale = house / "core" / "scale.py"
    scale.write_text("SCALE = 30\n")
    forget()
    assert code.changed_code(first, code.code_of(stage())) == ["core.scale.SCALE"]
