"""Results on disk: every class comes back as it was, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import subprocess
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch

from conceptbasis import results
from conceptbasis.errors import ArtifactError
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Replayed
from conceptbasis.results.matching import MatchSet
from conceptbasis.runs import storage
from conceptbasis.runs.storage import RESULT, Unread, from_json, read_result, to_json, write_result

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def classes() -> list[type]:
    """Every dataclass of a result."""
    found = {}
    for info in pkgutil.iter_modules(results.__path__, f"{results.__name__}."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if dataclasses.is_dataclass(value) and value.__module__ == info.name:
                found[name] = value
    return list(found.values())


CLASSES = classes()


@dataclass
class Maker:
    """Makes values of a class; no two numbers or tensors are alike."""

    optional: bool
    n: int = 0

    def __call__(self, kind: Any) -> Any:
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        self.n += 1
        if kind is storage._Tensor:
            return torch.arange(6.0).reshape(2, 3) + self.n
        if dataclasses.is_dataclass(kind):
            hints = storage._hints(kind)
            return kind(**{f.name: self(hints[f.name]) for f in dataclasses.fields(kind)})
        if origin in (typing.Union, types.UnionType):
            if types.NoneType in args and not self.optional:
                return None
            return self(args[0])
        if origin is Literal:
            return args[self.n % len(args)]
        if origin is tuple:
            kinds = [args[0]] * 2 if args[-1:] == (Ellipsis,) else args
            return tuple(self(k) for k in kinds)
        if origin is not None and issubclass(origin, Mapping):
            return {self(args[0]): self(args[1])}
        simple = {int: self.n, float: self.n + 0.5, bool: self.n % 2 == 0, object: [self.n]}
        return simple.get(kind, f"text {self.n}")


def assert_same(found: Any, expected: Any) -> None:
    """Equal values of equal types; tensors by their numbers."""
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif dataclasses.is_dataclass(expected):
        for f in dataclasses.fields(expected):
            assert_same(getattr(found, f.name), getattr(expected, f.name))
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def test_there_are_results_to_try():
    names = {kind.__name__ for kind in CLASSES}
    assert {"Harvest", "DonorDirection", "MatchSet", "Transfer", "Evaluation", "Summary"} <= names
    assert len(CLASSES) > 40


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("optional", [True, False], ids=["whole", "with None"])
def test_every_result_comes_back_as_it_was(tmp_path, kind, optional):
    made = Maker(optional)(kind)
    write_result(tmp_path, made)
    assert_same(read_result(tmp_path, kind), made)


# Values that results may hold, in one class


@dataclass(frozen=True)
class Leaf:
    x: Float[Tensor, "n d"]
    name: str = "leaf"


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    by_layer: Mapping[int, Leaf]
    by_ridge: Mapping[float, tuple[int, float]]
    side: Mapping[Literal["donor", "target"], bool]
    figure: Leaf | float
    either: float | Leaf
    maybe: Float[Tensor, " n"] | None
    count: int
    flag: bool
    share: float
    free: Mapping[str, object]


def tree(**changes: Any) -> Tree:
    made = Tree(
        leaves=(Leaf(torch.ones(2, 2)), Leaf(torch.zeros(1, 3), "other")),
        by_layer={7: Leaf(torch.arange(3.0)[None])},
        by_ridge={0.01: (1, 2.5), 1e-05: (3, 4.0)},
        side={"donor": True, "target": False},
        figure=Leaf(torch.full((1, 1), 5.0)),
        either=Leaf(torch.full((1, 1), 6.0)),
        maybe=torch.arange(4.0),
        count=3,
        flag=True,
        share=1.0,
        free={"tensor": 3, "list": [1, "a", None], "deep": {"tensor": "leaves.0.x"}},
    )
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    "changes", [{}, {"figure": 0.5, "either": 0.25, "maybe": None}, {"leaves": (), "by_layer": {}}]
)
def test_nested_tensors_number_keys_none_and_unions_come_back(tmp_path, changes):
    made = tree(**changes)
    write_result(tmp_path, made)
    assert_same(read_result(tmp_path, Tree), made)


def test_whole_numbers_count_as_floats_but_not_the_other_way(tmp_path):
    write_result(tmp_path, tree())
    plain = json.loads((tmp_path / RESULT).read_text())
    assert from_json(Tree, plain | {"share": 1}, tmp_path).share == 1.0
    with pytest.raises(ArtifactError, match=r"count should be a value of type int, not 1\.0"):
        from_json(Tree, plain | {"count": 1.0}, tmp_path)


def test_a_field_with_a_default_may_be_missing(tmp_path):
    write_result(tmp_path, Leaf(torch.ones(1, 1), "given"))
    plain = json.loads((tmp_path / RESULT).read_text())
    del plain["name"]
    assert from_json(Leaf, plain, tmp_path).name == "leaf"


# Errors


def edited(plain: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """The same JSON with another value at a place; `...` deletes it."""
    whole = json.loads(json.dumps(plain))
    inside = whole
    for step in place[:-1]:
        inside = inside[step]
    if value is ...:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("count",), ..., "count is missing"),
        (("leaves", 1, "x"), ..., r"leaves\.1\.x is missing"),
        (("extra",), 3, "it holds unknown keys: extra"),
        (("leaves", 0, "extra"), 3, r"leaves\.0 holds unknown keys: extra"),
        (("count",), "3", "count should be a value of type int, not '3'"),
        (("count",), True, "count should be a value of type int, not True"),
        (("count",), None, "count should be a value of type int, not None"),
        (("count",), {"tensor": "maybe"}, "count should be a value of type int, not {'tensor"),
        (("flag",), 1, "flag should be a value of type bool, not 1"),
        (("share",), "much", "share should be a value of type float, not 'much'"),
        (("leaves",), {}, "leaves should be a list, not {}"),
        (("leaves", 0), 5, r"leaves\.0 should be an object \(Leaf\), not 5"),
        (("leaves", 0, "x"), 5, r"leaves\.0\.x should be a tensor, not 5"),
        (("leaves", 0, "x"), [1.0, 2.0], r"leaves\.0\.x should be a tensor"),
        (("leaves", 1, "name"), 5, r"leaves\.1\.name should be a value of type str"),
        (("maybe",), 5, "maybe should be a tensor, not 5"),
        (("by_layer",), [1], r"by_layer should be an object, not \[1\]"),
        (("by_layer", "7", "name"), None, r"by_layer\.7\.name should be"),
        (("by_layer", "seven"), {}, "a key of by_layer should be a number"),
        (("by_ridge", "0.01"), [1], r"by_ridge\.0\.01 should be 2 entries, not \[1\]"),
        (("by_ridge", "0.01", 0), "x", r"by_ridge\.0\.01\.0 should be a value of type int"),
        (("side", "third"), True, "a key of side should be one of"),
        (("figure",), "high", "figure should be"),
        (("leaves", 0, "x"), {"tensor": "none"}, r"the tensor 'none' of leaves\.0\.x is missing"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(tmp_path, place, value, said):
    write_result(tmp_path, tree())
    path = tmp_path / RESULT
    path.write_text(json.dumps(edited(json.loads(path.read_text()), place, value)))
    with pytest.raises(ArtifactError, match=said) as caught:
        read_result(tmp_path, Tree)
    assert str(path) in caught.value.what
    assert str(tmp_path) in caught.value.fix


@pytest.mark.parametrize("plain", [[], None, 3, "x"])
def test_a_result_that_is_no_object_is_an_error(tmp_path, plain):
    with pytest.raises(ArtifactError, match=r"it should be an object \(Tree\)"):
        from_json(Tree, plain, tmp_path / RESULT)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_result_refuses_a_missing_and_an_unknown_field(tmp_path, kind):
    made = Maker(True)(kind)
    plain = to_json(made, {})
    with pytest.raises(ArtifactError, match="unknown keys: other_version"):
        from_json(kind, {**plain, "other_version": 1}, tmp_path)
    first = next(f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING)
    with pytest.raises(ArtifactError, match=f"{first} is missing"):
        from_json(kind, {k: v for k, v in plain.items() if k != first}, tmp_path)


def test_a_missing_tensor_of_a_result_is_named(tmp_path):
    made = Maker(True)(MatchSet)
    tensors: dict[str, torch.Tensor] = {}
    plain = to_json(made, tensors)
    del tensors["layers.1.r_fit"]
    with pytest.raises(ArtifactError, match=r"the tensor 'layers\.1\.r_fit' of .* is missing"):
        from_json(MatchSet, plain, tmp_path, tensors)


def test_what_no_result_can_hold_is_refused_by_its_place():
    with pytest.raises(TypeError, match=r"free\.a: a set cannot be stored"):
        to_json(tree(free={"a": {1}}), {})
    with pytest.raises(TypeError, match=r"x: a Tensor cannot be stored"):
        to_json(Leaf(torch.ones(1, 1)))


# Without a tensor library


def test_without_tensors_their_names_stand_in_their_places(tmp_path):
    write_result(tmp_path, Maker(True)(Replayed))
    found = read_result(tmp_path, Replayed, tensors=False)
    assert found.directions == Unread("directions")
    assert found.gates == Unread("gates")
    write_result(tmp_path, Maker(False)(Replayed))
    assert read_result(tmp_path, Replayed, tensors=False).gates is None


LIGHT = """
import importlib, pkgutil, sys
from pathlib import Path
from conceptbasis import results
for info in pkgutil.iter_modules(results.__path__, "conceptbasis.results."):
    importlib.import_module(info.name)
from conceptbasis.results.direction import DonorDirection
from conceptbasis.runs.storage import read_result
found = read_result(Path(sys.argv[1]), DonorDirection, tensors=False)
print(found.norms, found.per_layer.name)
heavy = {"torch", "jaxtyping", "safetensors", "numpy", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_reading_without_tensors_imports_no_tensor_library(tmp_path):
    made = Maker(True)(DonorDirection)
    write_result(tmp_path, made)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*str(made.norms).split(), "per_layer"]
