"""Runs the notebooks of docs/tutorials and keeps what they show, without what differs by machine.

    python scripts/tutorials.py FOLDER [NAME ...]

FOLDER is where they run and leave their runs; NAME is saes, atoms, wandb or own (default: all).
scripts/tutorials.sh does the same with the models and runs that they need.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "tutorials"
NAMES = ("saes", "atoms", "wandb", "own")
PARAMETERS = "parameters"
"""Tag of the cell that decides how large everything is."""
COMMAND = re.compile(r"^( *)!.*$", re.MULTILINE)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECONDS = re.compile(r"finished in \d+ s")


def run_notebook(
    name: str, folder: Path, values: Mapping[str, object] | None = None
) -> nbformat.NotebookNode:
    """Runs a notebook from top to bottom.

    Args:
        name: Of the notebook.
        folder: Where it runs.
        values: Parameters in place of its own; they must be among those that it has.

    Raises:
        CellExecutionError: if a cell fails, or a command in it.
    """
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if values and PARAMETERS in cell.metadata.get("tags", ()):
            cell.source = with_values(cell.source, values)
    sources = [cell.source for cell in book.cells]
    for cell in book.cells:
        if cell.cell_type == "code":  # a command that fails fails no cell by itself
            cell.source = COMMAND.sub(r"\g<0>\n\g<1>assert _exit_code == 0", cell.source)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    client = NotebookClient(
        book,
        timeout=None,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, "PATH": path})
    for cell, source in zip(book.cells, sources, strict=True):
        cell.source = source
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                output.text = plain(output.text)
    return book


def with_values(source: str, values: Mapping[str, object]) -> str:
    """The cell of parameters with other values.

    Raises:
        ValueError: if one of them is no parameter.
    """
    lines = source.splitlines()
    for name, value in values.items():
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"{name} = ")]
        lines[at] = f"{name} = {value!r}"
    return "\n".join(lines)


def plain(text: str) -> str:
    """What a command printed, without colours and the time that it took here."""
    found = SECONDS.sub("finished", ESCAPES.sub("", text.replace("\r\n", "\n")))
    return "\n".join(line.rstrip() for line in found.splitlines()) + "\n"


def main() -> None:
    """Runs notebooks in place."""
    parser = argparse.ArgumentParser(description="run the tutorials and keep what they show")
    parser.add_argument("folder", type=Path, help="where they run")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or NAMES:
        print(f"{name}: running", flush=True)
        nbformat.write(run_notebook(name, options.folder), NOTEBOOKS / f"{name}.ipynb")


if __name__ == "__main__":
    main()
