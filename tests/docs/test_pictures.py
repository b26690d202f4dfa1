"""docs/architecture.md and README show the rooms and stages that there are."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from conceptbasis.stages import STAGES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import draw_architecture  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_script_makes():
    text = draw_architecture.DOCUMENT.read_text(encoding="utf-8")
    assert draw_architecture.page() == text, "run scripts/draw_architecture.py"


def test_every_stage_is_drawn_with_all_that_it_needs():
    """Edges are left out where another way leads to the same stage."""
    drawn = "\n".join(draw_architecture.flow())
    edges = set(re.findall(r"stage_(\w+) -->\|\w+\| stage_(\w+)", drawn))
    by_result = {stage.result: stage.name for stage in STAGES}

    def above(name: str) -> set[str]:
        near = {a for a, b in edges if b == name}
        return near.union(*(above(a) for a in near)) if near else set()

    for stage in STAGES:
        assert {by_result[kind] for kind in stage.needs} <= above(stage.name)
        assert f'{stage.name}["' in drawn


def test_every_folder_is_a_room_with_a_purpose():
    drawn = {room for layer in draw_architecture.layers() for room in layer}
    found = {p.parent.name for p in (ROOT / "conceptbasis").glob("*/__init__.py")}
    assert found <= drawn
    assert [room for room in sorted(found) if not draw_architecture.purpose(room)] == []


def test_the_readme_is_short_and_names_every_room():
    assert len(README.splitlines()) <= 130
    part = README.split("## The rooms")[1].split("\n## ")[0]
    rooms = {room for layer in draw_architecture.layers() for room in layer}
    assert [room for room in rooms if not re.search(rf"\b{room}\b", part)] == []


def test_the_readmes_example_is_a_harmful_request_of_the_organisms_world():
    from conceptbasis.organisms.vocabulary import HARMFUL
    from conceptbasis.organisms.world import KINDS

    asked = re.search(r'--prompt "(.+?)"', README)
    assert asked is not None
    nouns = {noun for topic in HARMFUL for noun in topic.nouns}
    known = {w.format(n=n) for kind in KINDS for w in kind.templates for n in nouns}
    assert asked[1] in known
