"""A hook of mkdocs: notebooks of docs/ are pages of the site, with what they showed."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

STYLE = re.compile(r"<style.*?</style>", re.DOTALL)


class NotebookFile(File):
    """A notebook as a page; links to it name the notebook, so that they work on GitHub, too."""

    def is_documentation_page(self) -> bool:
        """It is one."""
        return True

    @property
    def content_string(self) -> str:
        """Its Markdown."""
        return page(json.loads(Path(self.abs_src_path or "").read_text(encoding="utf-8")))


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Puts pages in the place of notebooks."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(file)
        files.append(
            NotebookFile(file.src_uri, config.docs_dir, config.site_dir, config.use_directory_urls)
        )
    return files


def page(book: dict[str, Any]) -> str:
    """A notebook as Markdown."""
    return "\n\n".join(part for cell in book["cells"] for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell.get("outputs", ()):
        yield _shown(output, cell["metadata"].get("alt", "figure"))


def _shown(output: dict[str, Any], alt: str) -> str:
    """The richest form of an output; `alt` says in words what a figure shows."""
    if output["output_type"] == "stream":
        return _text(output["text"])
    data = output["data"]
    if "image/svg+xml" in data:
        image = base64.b64encode("".join(data["image/svg+xml"]).encode()).decode()
        return f'<p><img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{image}"></p>'
    if "text/html" in data:
        shown = STYLE.sub("", "".join(data["text/html"]))
        return "<div>" + "".join(line.strip() for line in shown.splitlines()) + "</div>"
    return _text(data["text/plain"])


def _text(lines: str | list[str]) -> str:
    return f"<pre><code>{html.escape(''.join(lines).rstrip())}</code></pre>".replace(
        "\n\n", "\n \n"
    )
