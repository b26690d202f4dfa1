"""Random streams by name: none collide, whatever asks for them."""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

import conceptbasis
from conceptbasis.runs.seeds import generator, seed_of

PACKAGE = Path(conceptbasis.__file__).parent
LAYERS = range(128)


Template = tuple[str | None, ...]
"""A name of a stream; None stands for a number."""


def streams() -> set[Template]:
    """The names of all streams that the package draws from."""
    found: set[Template] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and is_draw(node):
                name = template(node.args)
                assert name[0] is not None, f"{path.name}:{node.lineno} draws without a word"
                found.add(name)
            if isinstance(node, ast.Tuple) and is_passed_on(node):
                found.add((*template(node.elts), None))
    return found


def template(parts: list[ast.expr]) -> Template:
    found: list[str | None] = []
    for part in parts:
        if isinstance(part, ast.Starred):  # a pair of layers
            found += [None, None]
        else:
            found.append(word(part))
    return tuple(found)


def word(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def is_draw(node: ast.Call) -> bool:
    """`study.generator("name", ...)`; a name that is passed on is made elsewhere."""
    named = isinstance(node.func, ast.Attribute) and node.func.attr == "generator"
    return named and bool(node.args) and not isinstance(node.args[0], ast.Starred)


PASSED_ON = ("unrelated_recipe", "proxy")
"""Streams of `methods.concepts.transfer_contrast`, to which it adds the target layer."""


def is_passed_on(node: ast.Tuple) -> bool:
    return bool(node.elts) and word(node.elts[0]) in PASSED_ON


def places(name: Template) -> Iterator[tuple[str | int, ...]]:
    """A stream at every place where it may be drawn: each number up to 128."""
    return itertools.product(*(LAYERS if part is None else [part] for part in name))


def test_the_streams_of_the_package_are_found():
    found = streams()
    assert {("match", None, None), ("align", None, None), ("guard", None), ("area",)} <= found
    assert {("random_direction", None), ("shuffled_atoms", None, None)} <= found
    assert {(name, None, None) for name in PASSED_ON} <= found
    assert len(found) >= 15


def test_nothing_draws_with_a_seed_of_its_own_where_a_study_is_at_hand():
    """Rooms that have a study draw by name; below them, seeds come in as arguments."""
    rooms = ("stages", "methods", "edits", "interpret")
    for room in rooms:
        for path in (PACKAGE / room).rglob("*.py"):
            assert "manual_seed" not in path.read_text(encoding="utf-8"), path


def test_no_two_streams_of_a_run_collide():
    """Every stream at every place it may be drawn at, over 128 × 128 layers and two seeds."""
    names = {place for name in streams() for place in places(name)}
    assert len(names) > 4 * 128 * 128
    seeds = {seed_of(run, *name) for run in (0, 1) for name in names}
    assert len(seeds) == 2 * len(names)
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_the_numbers_that_were_added_to_the_seed_before_collide():
    """The control: the same test finds what names were introduced against."""
    old = [
        *(1000 * t + d for t, d in itertools.product(LAYERS, LAYERS)),  # match
        *(7919 * t + d for t, d in itertools.product(LAYERS, LAYERS)),  # align
        *LAYERS,  # probe, guard and fit
        *(211 + t for t in LAYERS),  # forecast
        *(60_000 + 100 * draw + t for draw, t in itertools.product(range(8), LAYERS)),
        *(70_000 + t for t in LAYERS),  # relu_map
    ]
    assert sum(n - 1 for n in Counter(old).values()) > 500


def test_parts_of_a_name_do_not_run_together():
    names = [
        ("a", 1, 23),
        ("a", 12, 3),
        ("a", 123),
        ("a1", 23),
        ("a", "1", 23),
        ("a", "123"),
        ("a",),
        (),
    ]
    assert len({seed_of(0, *name) for name in names}) == len(names)
    assert seed_of(1, "a") != seed_of(0, "a")
    assert seed_of(1, 1) != seed_of(11)


def test_a_stream_is_the_same_wherever_it_is_drawn():
    """The number is written down: another one would change every run."""
    assert seed_of(0, "match", 3, 4) == 6286559930089217258
    one, two = (torch.rand(4, generator=generator(0, "match", 3, 4)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, torch.rand(4, generator=generator(0, "match", 4, 3)))
