"""The documentation builds as a site: no link is broken, and everything public is in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import conceptbasis

ROOT = Path(__file__).parents[2]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # --quiet would silence warnings before --strict counts them (mkdocs 1.6.1).
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_has_an_entry(site):
    page = (site / "api" / "python.html").read_text()
    for name in set(conceptbasis.__all__) - {"__version__"}:
        owner = getattr(conceptbasis, name).__module__
        assert f'id="{owner}.{name}"' in page, name
    assert 'id="conceptbasis.errors.ModelError"' in page


def test_entries_say_what_arguments_mean(site):
    page = (site / "api" / "core.html").read_text()
    assert "layer_fraction" in page
    assert "d_target" in page  # shapes


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "docs/tutorials").glob("*.ipynb")))
def test_a_notebook_is_a_page_with_what_it_showed(site, name):
    page = (site / "tutorials" / f"{name}.html").read_text()
    book = json.loads((ROOT / f"docs/tutorials/{name}.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", ())]
    kinds = [kind for output in outputs for kind in output.get("data", ())]
    assert page.count("data:image/svg+xml;base64,") == kinds.count("image/svg+xml")
    assert page.count("<pre><code>") >= sum(o["output_type"] == "stream" for o in outputs)
    assert page.count("<table") >= kinds.count("text/html")
    assert "&lt;td&gt;" not in page


def test_a_broken_link_fails_the_build(tmp_path):
    for name in ("mkdocs.yml", "docs"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    for name in ("conceptbasis", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write("\n[nowhere](nowhere.md)\n")
    notebook = tmp_path / "docs/tutorials/own.ipynb"
    notebook.write_text(notebook.read_text().replace("](atoms.ipynb)", "](neverwhere.md)"))
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    assert "neverwhere.md" in done.stderr
