"""Writes and reads results: any dataclass, its tensors to safetensors and the rest to JSON.

A tensor's place in the JSON holds `{"tensor": NAME}`. Reading checks every value against the
dataclass, so that a file of another version or one that was changed by hand is an error.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conceptbasis.runs.files import corrupt, load_tensors, read_json, save_tensors, write_json

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, RESULT = "tensors.safetensors", "result.json"
_MARK = "tensor"

R = TypeVar("R")


@dataclass(frozen=True)
class Unread:
    """Stands for a tensor of a result that was read without its tensors."""

    name: str


def write_result(folder: Path, result: Any) -> None:
    """Writes a dataclass as `result.json` and `tensors.safetensors`, each atomically."""
    tensors: dict[str, Tensor] = {}
    plain = to_json(result, tensors)
    save_tensors(folder / TENSORS, tensors)
    write_json(folder / RESULT, plain)


def read_result(folder: Path, kind: type[R], *, tensors: bool = True) -> R:
    """Reads a dataclass that `write_result` wrote.

    Args:
        folder: Where it lies.
        kind: Its class.
        tensors: Whether tensors are read; without them no tensor library is imported, and each
            tensor field is an `Unread`.

    Raises:
        ArtifactError: if a file is missing, corrupt, or does not fit the class.
    """
    loaded = load_tensors(folder / TENSORS) if tensors else None
    return from_json(kind, read_json(folder / RESULT), folder / RESULT, loaded)


def to_json(value: Any, tensors: dict[str, Tensor] | None = None, place: str = "") -> Any:
    """A value as JSON holds it; tensors go to `tensors` by their place.

    Args:
        value: A dataclass, or anything made of dataclasses, mappings, sequences and scalars.
        tensors: Takes tensors; None where there may be none.
        place: Prefix of the names of tensors.
    """
    if isinstance(value, (str, int, float, bool, types.NoneType)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return {n: to_json(getattr(value, n), tensors, _join(place, n)) for n in names}
    if isinstance(value, Mapping):
        return {str(k): to_json(v, tensors, _join(place, str(k))) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [to_json(v, tensors, _join(place, str(i))) for i, v in enumerate(value)]
    if tensors is not None and type(value).__name__ == "Tensor":
        tensors[place] = value
        return {_MARK: place}
    raise TypeError(f"{place or 'value'}: a {type(value).__name__} cannot be stored")


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def from_json(
    kind: type[R], plain: Any, path: Path, tensors: Mapping[str, Tensor] | None = None
) -> R:
    """A value of a class from JSON.

    Args:
        kind: A dataclass.
        plain: What the JSON holds.
        path: Named in errors.
        tensors: By name; None leaves them out.

    Raises:
        ArtifactError: if something does not fit the class.
    """
    reader = _Reader(path, tensors)
    return typing.cast(R, reader.read(kind, plain, ""))


@dataclass(frozen=True)
class _Reader:
    path: Path
    tensors: Mapping[str, Tensor] | None

    def read(self, kind: Any, plain: Any, place: str) -> Any:
        if type(plain) is kind:  # most of what is read: strings and numbers of the right type
            return plain
        if kind is _Tensor:
            return self._tensor(plain, place)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, plain, place)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return self._union(args, plain, place)
        if origin is typing.Literal:
            return plain if plain in args else self._fail(place, f"one of {args}", plain)
        if origin is tuple:
            return self._tuple(args, plain, place)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(args, plain, place)
        return self._scalar(kind, plain, place)

    def _tensor(self, plain: Any, place: str) -> Any:
        if not isinstance(plain, dict) or plain.keys() != {_MARK}:
            self._fail(place, "a tensor", plain)
        name = plain[_MARK]
        if self.tensors is None:
            return Unread(name)
        if name not in self.tensors:
            raise corrupt(self.path, f"the tensor {name!r} of {place} is missing")
        return self.tensors[name]

    def _dataclass(self, kind: Any, plain: Any, place: str) -> Any:
        if not isinstance(plain, dict):
            self._fail(place, f"an object ({kind.__name__})", plain)
        hints = _hints(kind)
        unknown = sorted(plain.keys() - hints.keys())
        if unknown:
            raise corrupt(self.path, f"{place or 'it'} holds unknown keys: {', '.join(unknown)}")
        given = {}
        for name, hint in hints.items():
            if name in plain:
                value = plain[name]
                exact = type(value) is hint
                given[name] = value if exact else self.read(hint, value, _join(place, name))
            elif name in _needed(kind):
                raise corrupt(self.path, f"{_join(place, name)} is missing")
        return kind(**given)

    def _union(self, options: tuple[Any, ...], plain: Any, place: str) -> Any:
        if plain is None and types.NoneType in options:
            return None
        rest = [o for o in options if o is not types.NoneType]
        if isinstance(plain, dict):
            rest = [o for o in rest if dataclasses.is_dataclass(o)] or rest
        elif isinstance(plain, (int, float)):
            rest = [o for o in rest if o in (int, float, bool)] or rest
        return self.read(rest[0], plain, place)

    def _tuple(self, args: tuple[Any, ...], plain: Any, place: str) -> Any:
        if not isinstance(plain, list):
            self._fail(place, "a list", plain)
        if args[-1:] == (Ellipsis,) and set(map(type, plain)) == {args[0]}:
            return tuple(plain)
        kinds = [args[0]] * len(plain) if args[-1:] == (Ellipsis,) else list(args)
        if len(kinds) != len(plain):
            self._fail(place, f"{len(kinds)} entries", plain)
        pairs = zip(kinds, plain, strict=True)
        return tuple(self.read(k, v, _join(place, str(i))) for i, (k, v) in enumerate(pairs))

    def _mapping(self, args: tuple[Any, ...], plain: Any, place: str) -> Any:
        if not isinstance(plain, dict):
            self._fail(place, "an object", plain)
        return {
            self._key(args[0], k, place): self.read(args[1], v, _join(place, k))
            for k, v in plain.items()
        }

    def _key(self, kind: Any, key: str, place: str) -> Any:
        if kind in (int, float):
            try:
                return kind(key)
            except ValueError:
                self._fail(f"a key of {place}", f"a number ({kind.__name__})", key)
        return self.read(kind, key, f"a key of {place}")

    def _scalar(self, kind: Any, plain: Any, place: str) -> Any:
        if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
            return float(plain)
        if kind in (str, int, float, bool):
            fits = isinstance(plain, kind) and (kind is bool or not isinstance(plain, bool))
            return plain if fits else self._fail(place, f"a value of type {kind.__name__}", plain)
        return plain

    def _fail(self, place: str, wanted: str, found: Any) -> typing.NoReturn:
        shown = repr(found)
        shown = shown if len(shown) < 60 else f"{shown[:57]}..."
        raise corrupt(self.path, f"{place or 'it'} should be {wanted}, not {shown}")


class _Tensor:
    """Stands for tensors and their shapes, whose names only type checkers import."""

    def __class_getitem__(cls, item: Any) -> Any:
        return cls


_NAMES = dict.fromkeys(("Float", "Int", "Bool", "Num", "Tensor"), _Tensor)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, vars(sys.modules[kind.__module__]), _NAMES)


@functools.cache
def _needed(kind: type) -> frozenset[str]:
    fields = dataclasses.fields(kind)
    return frozenset(f.name for f in fields if f.default is dataclasses.MISSING)
