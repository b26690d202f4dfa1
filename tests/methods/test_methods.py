"""The registry of methods: the one list of names, light to read, closed to prompts and labels."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import conceptbasis
from conceptbasis.config.run import RunConfig
from conceptbasis.errors import ConfigError
from conceptbasis.methods import (
    METHODS,
    catalog,
    check_methods,
    chosen_baselines,
    register,
    with_role,
)
from conceptbasis.methods.base import GROUPS, Method, Treatment

PACKAGE = Path(conceptbasis.__file__).parent
ROLES = {role for roles in GROUPS.values() for role in roles}


def strings(nodes) -> list[str]:
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def lists_of_names(tree: ast.AST) -> list[tuple[int, list[str]]]:
    """Literal collections with two names of methods or more; dicts by role are none."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            given = strings(node.elts)
        elif isinstance(node, ast.Dict):
            given = strings([key for key in node.keys if key])
            if set(given) <= ROLES:
                continue
        else:
            continue
        names = [name for name in given if name in METHODS]
        if len(names) > 1:
            found.append((node.lineno, names))
    return found


def test_no_other_list_of_names_exists_in_the_package():
    found = {
        f"{path.relative_to(PACKAGE)}:{line}": names
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "methods"
        for line, names in lists_of_names(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        'A = ("native", "affine")',
        'A = ["least_squares", "x", "relu_map"]',
        'A = {"far_layers": 1, "native": 2}',
        'A: Literal["affine", "procrustes"]',
        'A = {"native", "transfer"}',
    ],
)
def test_the_search_finds_a_second_list(code):
    assert lists_of_names(ast.parse(code))


@pytest.mark.parametrize("code", ['A = ("affine", "ablate")', 'A = {"native": 1, "control": 2}'])
def test_the_search_passes_one_name_and_tables_by_role(code):
    assert not lists_of_names(ast.parse(code))


def test_names_of_each_role_are_in_the_order_of_display():
    assert [method.name for method in METHODS.values()] == [
        "baseline",
        "native",
        "native_per_layer",
        "native_early",
        "native_far",
        "transfer",
        "code_map",
        "transported",
        "matched",
        "early_layers_only",
        "last_layer_only",
        "per_layer",
        "per_layer_early",
        "single_direction",
        "single_direction_early",
        "no_guard",
        "sae_error_only",
        "least_squares",
        "affine",
        "relu_map",
        "procrustes",
        "contrast_ridge",
        "contrast_ridge_stream",
        "random_direction",
        "shuffled_atoms",
        "far_layers",
        "unrelated_recipe",
    ]
    assert {method.role for method in METHODS.values()} == ROLES
    groups = [name for _, members in catalog.grouped(METHODS) for name in members]
    assert groups == list(METHODS)


def test_every_method_has_one_way_to_its_edit_and_a_label():
    for method in METHODS.values():
        ways = [way for way in (method.plan, method.move, method.fit) if way is not None]
        assert len(ways) == 1, method.name
        assert (method.role == "baseline") is (method.plan is None), method.name
        assert method.label, method.name
        assert method.checked_by is None or method.checked_by in METHODS
        assert method.reads_labels is (method.role == "native"), method.name


def test_every_method_stands_in_a_file_of_the_registry():
    folder = PACKAGE / "methods"
    defined = {
        node.targets[0].id
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "Method"
        and isinstance(node.targets[0], ast.Name)
    }
    registered = ast.parse((folder / "__init__.py").read_text())
    named = {node.id for node in ast.walk(registered) if isinstance(node, ast.Name)}
    assert len(defined) > 15
    assert defined <= named


def test_reading_the_registry_imports_no_tensor_library():
    code = "import sys, conceptbasis.methods.catalog; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_method_names_neither_study_nor_prompts():
    """What methods need of both, the bridge hands over."""
    machinery = {"bridge.py", "handed.py", "concepts.py", "rebuilder.py", "fitting.py"}
    for path in (PACKAGE / "methods").glob("*.py"):
        if path.name in machinery:
            continue
        tree = ast.parse(path.read_text())
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        imported = {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
        }
        assert not used & {"_study", "study", "suite", "prompts", "_native", "_get"}, path.name
        rooms = {module.split(".")[1] for module in imported if module.startswith("conceptbasis.")}
        assert rooms <= {"methods", "core", "results", "errors", "config", "edits"}, path.name


@pytest.fixture
def registry():
    """The registry, put back afterwards."""
    before = dict(METHODS)
    yield METHODS
    METHODS.clear()
    METHODS.update(before)


def nothing(bridge, pair=None):
    yield Treatment()


def test_a_method_of_ones_own_is_listed_with_its_role(registry):
    register(Method("mine", "baseline", "mine", move=nothing))
    assert catalog.of_role("baseline")[-1] == "mine"
    assert chosen_baselines(None)[-1].name == "mine"
    assert chosen_baselines(("mine",)) == [registry["mine"]]
    assert dict(catalog.grouped(registry))["Baselines"][-1] == "mine"


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        (Method("affine", "baseline", "mine", move=nothing), "there is a method 'affine' already"),
        (Method("mine", "baseline", "mine", plan=nothing), "1 ways to its edit"),
        (Method("mine", "control", "mine"), "0 ways to its edit"),
        (Method("mine", "baseline", "m", move=nothing, fit=nothing), "2 ways to its edit"),
    ],
)
def test_a_method_that_cannot_be_told_apart_or_planned_is_refused(registry, method, problem):
    with pytest.raises(ConfigError, match=problem):
        register(method)


def test_an_unknown_baseline_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no baseline is called native[\s\S]*least_squares"):
        chosen_baselines(("native", "affine"))
    defaults = [method.name for method in chosen_baselines(None)]
    assert defaults == [n for n in catalog.of_role("baseline") if n != "relu_map"]
    assert [m.name for m in chosen_baselines(())] == []
    assert [m.role for m in with_role("transfer")] == ["transfer"]


def test_settings_that_name_no_method_are_refused():
    check_methods(RunConfig())
    for settings, key in (
        ({"transfer": {"route": "native"}}, "transfer.route"),
        ({"evaluate": {"baselines": ["matched"]}}, "evaluate.baselines"),
    ):
        with pytest.raises(ConfigError, match=f"correct the key {key}"):
            check_methods(RunConfig.model_validate(settings))


def test_unknown_conditions_come_last_and_are_never_dropped():
    assert catalog.grouped(["strange", "transfer"]) == [
        ("Transfer", ["transfer"]),
        ("Other conditions", ["strange"]),
    ]
