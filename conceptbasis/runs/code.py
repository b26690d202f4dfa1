"""Which code a function runs, as one hash for each definition, so that a change can be named.

From a function the names it mentions are followed through the package: functions, classes and
module constants, in its own module and in those it imports. Names are taken from annotations too,
so that the class of an argument counts. Comments and docstrings do not.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptbasis.errors import ArtifactError
from conceptbasis.runs.files import cache_folder, write_bytes

_ROOT, _PLACE = __name__.partition(".")[0], Path(__file__).parent.parent
_IGNORED = ("errors", "config", "runs")
"""Errors change what is said; settings are compared by value; `runs` moves results about."""


@dataclass(frozen=True)
class _Definition:
    """A definition's short hash, and the names it mentions."""

    digest: str
    mentioned: tuple[str, ...]


@dataclass(frozen=True)
class _Module:
    """Definitions of a module by name, and what its imports stand for."""

    definitions: Mapping[str, _Definition]
    imports: Mapping[str, tuple[str, str | None]]


def code_of(function: Callable[..., Any]) -> dict[str, str]:
    """Short hashes of all definitions of the package that a function reaches, by dotted name.

    Args:
        function: A module-level function of the package or of an extension of it.
    """
    found: dict[str, str] = {}
    queue = [(function.__module__, function.__qualname__.partition(".")[0])]
    while queue:
        module, name = queue.pop()
        place = f"{module}.{name}"
        if place in found or _is_ignored(module):
            continue
        parsed = _parse(module)
        if name in parsed.definitions:
            found[place] = parsed.definitions[name].digest
            queue += [(module, other) for other in parsed.definitions[name].mentioned]
        elif name in parsed.imports:
            source, original = parsed.imports[name]
            queue += [(source, original)] if original else [(source, n) for n in _all(source)]
    _KNOWN.keep()
    return {place.removeprefix(f"{_ROOT}."): digest for place, digest in sorted(found.items())}


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of definitions that differ, were added or are gone."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _is_ignored(module: str) -> bool:
    parts = module.split(".")
    return parts[0] == _ROOT and len(parts) > 1 and parts[1] in _IGNORED


def _all(module: str) -> list[str]:
    return list(_parse(module).definitions)


def _read(statements: list[ast.stmt]) -> _Definition:
    mentioned = {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name)}
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                mentioned |= {node.value} if node.value.isidentifier() else set()
    text = "\n".join(ast.dump(_plain(statement)) for statement in statements)
    return _Definition(hashlib.sha256(text.encode()).hexdigest()[:12], tuple(sorted(mentioned)))


def _plain(tree: ast.AST) -> ast.AST:
    """A definition without its docstrings."""
    for node in list(ast.walk(tree)):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [inside for inside in body if not _is_docstring(inside)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@functools.cache
def _parse(module: str) -> _Module:
    path = _file(module)
    if path is None:
        return _Module({}, {})
    return _KNOWN.find(path) or _KNOWN.add(path, _parse_file(path))


def _parse_file(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, tuple[str, str | None]] = {}
    for statement in tree.body:
        for name in _names(statement):
            definitions.setdefault(name, []).append(statement)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_inside(node.module or ""):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = (whole, None) if _file(whole) else (str(node.module), alias.name)
                imports[alias.asname or alias.name] = target
    return _Module({name: _read(found) for name, found in definitions.items()}, imports)


class _Known:
    """Parsed modules in the cache, each good while its file has the same size and time."""

    def __init__(self) -> None:
        self._modules: dict[str, Any] | None = None
        self._grown = False

    def find(self, path: Path) -> _Module | None:
        """What was parsed of a file, None where the file is another one now."""
        if self._modules is None:
            with contextlib.suppress(OSError, ValueError):
                self._modules = json.loads(self._place().read_text(encoding="utf-8"))
            self._modules = self._modules if isinstance(self._modules, dict) else {}
        stamp, plain = self._modules.get(str(path), (None, None))
        if plain is None or stamp != self._stamp(path):
            return None
        definitions = {n: _Definition(d, tuple(m)) for n, (d, m) in plain[0].items()}
        return _Module(definitions, {n: (source, own) for n, (source, own) in plain[1].items()})

    def add(self, path: Path, module: _Module) -> _Module:
        """Remembers what was parsed of a file."""
        assert self._modules is not None
        plain = {n: (d.digest, d.mentioned) for n, d in module.definitions.items()}
        self._modules[str(path)] = (self._stamp(path), (plain, dict(module.imports)))
        self._grown = True
        return module

    def keep(self) -> None:
        """Writes what was parsed anew; a cache that cannot be written costs time only."""
        if self._grown:
            with contextlib.suppress(ArtifactError):
                write_bytes(self._place(), json.dumps(self._modules).encode())
            self._grown = False

    def _place(self) -> Path:
        return cache_folder() / f"code-{sys.version_info[0]}.{sys.version_info[1]}.json"

    def _stamp(self, path: Path) -> list[int]:
        found = path.stat()
        return [found.st_size, found.st_mtime_ns]


_KNOWN = _Known()


def _is_inside(module: str) -> bool:
    return module.partition(".")[0] == _ROOT


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return []


@functools.cache
def _file(module: str) -> Path | None:
    if not _is_inside(module):
        try:
            source = inspect.getsourcefile(__import__(module, fromlist=["_"]))
        except (ImportError, TypeError):
            return None
        return None if source is None else Path(source)
    base = _PLACE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None
