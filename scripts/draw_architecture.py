"""Writes docs/architecture.md from the stages and the import contract; a test checks that it is.

python scripts/draw_architecture.py
"""

from __future__ import annotations

import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from conceptbasis.stages import STAGES

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"

HEAD = """\
# Architecture

Made by `scripts/draw_architecture.py` from `conceptbasis.stages.STAGES` and the import contract in
`pyproject.toml`. A test checks that this page is what the script prints.

## The flow of a run

Ellipses are sources. Each is drawn at the first stage that reads it; the table lists all readers.
Boxes are stages. An arrow between stages is the last artifact that the later one waits for. At the
seal the artifacts of the transfer are hashed. Only stages after it (dark) read labels of the
target. Dashed stages run only when a setting asks for them.
"""

BETWEEN = """
Beside the stages, a run leaves `summary.json`, `recipe.json` with its tensors, and `report.html`
([artifacts.md](artifacts.md)).

"""

ROOMS = """\
## The rooms

A room may import from the rooms below it, and from no other. Rooms side by side do not import each
other. `make check` proves it, and a file that fits no room fails the check.
"""


def layers() -> list[list[str]]:
    """Rooms from the top down, as the import contract lists them."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = read["tool"]["importlinter"]["contracts"][0]
    return [layer.split(" | ") for layer in contract["layers"]]


def purpose(room: str) -> str:
    """The first sentence of a room's docstring."""
    said = inspect.getdoc(importlib.import_module(f"conceptbasis.{room}")) or ""
    return " ".join(said.split("\n\n")[0].split())


def flow() -> Iterator[str]:
    """The stages with what they read, as a mermaid graph."""
    by_result = {stage.result: stage.name for stage in STAGES}
    yield from ("```mermaid", "flowchart TD")
    for name in sorted({source for stage in STAGES for source in stage.sources}):
        yield f'  {_id(name)}(["{name}"])'
    for stage in STAGES:
        yield f'  stage_{stage.name}["{stage.name}"]'
    first = next(stage.name for stage in STAGES if stage.reads_labels)
    seen: set[str] = set()
    for stage in STAGES:
        new = [source for source in stage.sources if source not in seen]
        seen.update(new)
        yield from (f"  {_id(source)} -.-> stage_{stage.name}" for source in new)
        for kind in _nearest(stage.needs):
            yield f"  stage_{by_result[kind]} -->|{kind.__name__}| stage_{stage.name}"
    yield f"  seal{{{{seal}}}} ==> stage_{first}"
    sealed = STAGES[[stage.name for stage in STAGES].index(first) - 1].name
    yield f"  stage_{sealed} ==> seal"
    readers = ",".join(f"stage_{stage.name}" for stage in STAGES if stage.reads_labels)
    yield f"  class {readers} labels"
    yield "  classDef labels fill:#334,color:#fff"
    optional = ",".join(_optional())
    yield f"  class {optional} optional"
    yield "  classDef optional stroke-dasharray:5 5"
    yield "```"


def _id(source: str) -> str:
    return "source_" + source.replace(".", "_")


def _optional() -> list[str]:
    """Stages that the default settings do not want."""
    from conceptbasis.config.run import RunConfig

    return [f"stage_{stage.name}" for stage in STAGES if not stage.wanted(RunConfig())]


def _nearest(needs: tuple[type, ...]) -> list[type]:
    """Results that are not needed by another needed stage already, so that the picture is read."""
    above: set[type] = set()
    makers = {stage.result: stage for stage in STAGES}
    queue = [inner for kind in needs for inner in makers[kind].needs]
    while queue:
        kind = queue.pop()
        if kind not in above:
            above.add(kind)
            queue += makers[kind].needs
    return [kind for kind in needs if kind not in above]


def stage_table() -> Iterator[str]:
    """Every stage with all that it needs and what it leaves."""
    yield from ("| stage | reads | needs the results of | leaves |", "|---|---|---|---|")
    by_result = {stage.result: stage.name for stage in STAGES}
    for stage in STAGES:
        reads = ", ".join(f"`{s}`" for s in stage.sources) or "–"
        needs = ", ".join(f"`{by_result[kind]}`" for kind in stage.needs) or "–"
        yield f"| `{stage.name}` | {reads} | {needs} | `{stage.result.__name__}` |"


def rooms() -> Iterator[str]:
    """The rooms from the top down, as a mermaid graph and as a table."""
    yield from ("```mermaid", "flowchart TD")
    for number, layer in enumerate(layers()):
        yield f'  layer{number}["{" · ".join(layer)}"]'
    yield "  " + " --> ".join(f"layer{number}" for number in range(len(layers())))
    yield from ("```", "", "| room | what it holds |", "|---|---|")
    for layer in layers():
        yield from (f"| `{room}` | {purpose(room)} |" for room in layer)


def page() -> str:
    """The whole page."""
    parts = [HEAD, *flow(), "", *stage_table(), BETWEEN + ROOMS, *rooms()]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page(), encoding="utf-8")
    print(f"wrote {DOCUMENT}", file=sys.stderr)
