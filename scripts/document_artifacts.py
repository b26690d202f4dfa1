"""Writes the tables of docs/artifacts.md from the classes of results; a test checks that they are.

python scripts/document_artifacts.py
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from pathlib import Path

from conceptbasis.results.audit import Audit
from conceptbasis.results.capability import Capability
from conceptbasis.results.circuits import SharedCircuits
from conceptbasis.results.summary import Summary
from conceptbasis.runs.storage import _hints
from conceptbasis.stages import STAGES

DOCUMENT = Path(__file__).parents[1] / "docs" / "artifacts.md"
BEGIN, END = "<!-- made by scripts/document_artifacts.py -->", "<!-- end -->"


def parts_of(kind: object) -> list[type]:
    """Classes of results that a type holds."""
    if dataclasses.is_dataclass(kind):
        return [typing.cast(type, kind)]
    return [part for argument in typing.get_args(kind) for part in parts_of(argument)]


def shown(field: dataclasses.Field[object]) -> str:
    """A type in the words of JSON; a tensor with its shape."""
    text = str(field.type)
    tensor = re.search(r"(?:Float|Int|Bool)\[Tensor, ['\"]\s*(.*?)['\"]\]", text)
    if tensor:
        text = text.replace(tensor[0], f"tensor ({', '.join(tensor[1].split())})")
    text = re.sub(r"tuple\[([^\[\]]+), \.\.\.\]", r"[\1]", text)
    text = re.sub(r"tuple\[([^\[\].]+)\]", r"(\1)", text)
    text = re.sub(r"tuple\[([^\[\]]+), \.\.\.\]", r"[\1]", text)
    text = re.sub(r"Mapping\[(\w+), (.*)\]", r"{\1: \2}", text)
    return text.replace("None", "null").replace("|", "or")


def meanings(kind: type) -> dict[str, str]:
    """What the docstring of a class says of each field."""
    _, _, listed = (inspect.getdoc(kind) or "").partition("Args:\n")
    entries = re.findall(r"^ {4}(\w+): ((?:.|\n {8})*)", listed, flags=re.MULTILINE)
    return {
        name: " ".join(text.split()).replace("None", "null").replace("|", "\\|")
        for name, text in entries
    }


def table(kind: type) -> list[str]:
    """One row a field."""
    said = meanings(kind)
    lines = ["| field | type | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(kind):
        lines.append(f"| `{field.name}` | {shown(field)} | {said.get(field.name, '')} |")
    return lines


def row(kind: type) -> str:
    """A class in one row, with its fields."""
    said = meanings(kind)
    fields = [
        f"`{f.name}` {shown(f)}{': ' + said[f.name].rstrip('.') if f.name in said else ''}"
        for f in dataclasses.fields(kind)
    ]
    return f"| {kind.__name__} | {first_line(kind)} | {'; '.join(fields)} |"


def first_line(kind: type) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def tables() -> str:
    """The tables of all stages, of the summary, and of their parts, each class once."""
    roots = [(f"`{stage.name}/`", stage.result) for stage in STAGES]
    roots += [("`summary.json`", Summary), ("`audit.json`", Audit)]
    roots += [("`circuits.json`", SharedCircuits)]
    roots.append(("`capability.json`", Capability))
    lines, parts = [], {}
    for name, kind in roots:
        lines += [f"### {name}: {kind.__name__}", "", first_line(kind), "", *table(kind), ""]
    queue = [kind for _, kind in roots]
    tops = set(queue)
    while queue:
        for hint in _hints(queue.pop(0)).values():
            for part in parts_of(hint):
                if part not in tops and part not in parts:
                    parts[part] = None
                    queue.append(part)
    lines += ["## Parts", "", "| class | what it is | fields |", "|---|---|---|"]
    lines += [row(part) for part in sorted(parts, key=lambda part: part.__name__)]
    return "\n".join(lines)


def renewed(text: str) -> str:
    """The document with its tables as the classes are now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
