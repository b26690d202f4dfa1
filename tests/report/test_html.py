"""The report is one file that needs nothing else and survives missing figures."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import struct
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import altair as alt
import pytest

from conceptbasis.behaviors import find_behavior
from conceptbasis.errors import ArtifactError
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.edit_facts import edit_facts
from conceptbasis.report.figures.theme import CONFIG as LOOK
from conceptbasis.report.figures.theme import PHONE_WIDTH
from conceptbasis.report.html import FIGURES, build_report, draw
from conceptbasis.report.inspection import Recipe, RecipeLayer, ShownFlow, read_recipe
from conceptbasis.report.recipe_tables import flows_table
from conceptbasis.report.stage_tables import route_table
from conceptbasis.results.atoms import Flow, FlowAtom
from conceptbasis.results.conditions import Condition
from conceptbasis.results.layers import LayerPlan
from conceptbasis.results.summary import Seeds, Verdict
from conceptbasis.runs.files import CONFIG
from conceptbasis.runs.storage import to_json
from conceptbasis.runs.summary import read_summary, write_summary

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import (
    SECRET,
    SHARED_LAYER,
    make_summary,
    stage_results,
    unknown_figures,
    write_run,
    write_stage,
)

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what the tests ask about, and fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("report") / "run")
    build_report(folder)
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_rates_are_broken_down_by_what_prompts_share(tmp_path: Path) -> None:
    page = build_report(write_run(tmp_path / "run")).read_text()
    assert "By topic, kind and wording" in page
    row = re.search(r"how_to</th>(.*?)</tr>", page)
    assert row is not None
    assert "0.60" in row[1]  # 12 of 20 under the transfer, where others have 1 of 20
    assert "positive prompts by kind" in page


def test_rates_stand_beside_those_corrected_for_the_judge(tmp_path: Path) -> None:
    from conceptbasis.judges.phrases import PHRASES
    from conceptbasis.report.run_tables import corrected, judges

    table = judges(make_summary())
    names = table.head
    assert names == ["condition", "phrases", "first_token", "phrases, corrected"]
    rates = {c.name: c.figures.judges["phrases"] for c in make_summary().conditions}
    rows = table.rows
    assert [row[-1] for row in rows] == [corrected(rates[row[0]], PHRASES.error) for row in rows]
    assert any(row[-1].value != rates[row[0]].interval.value for row in rows)
    page = build_report(write_run(tmp_path / "run")).read_text()
    assert "phrases, corrected" in page
    assert "Rogan and Gladen 1978" in page


def test_is_self_contained_and_small(source: str, page: Page) -> None:
    assert len(source.encode()) < 4_000_000
    assert not {"link", "img", "iframe"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in ("href", "src", "xlink:href"):
                assert value is not None
                link = tag == "a" and ("neuronpedia" in value or "download" in attributes)
                assert value.startswith("#") or link, value[:80]
                assert "download" not in attributes or value.startswith("data:"), value[:80]
    assert not re.search(r"@import|url\((?!#)", source)


def test_one_script_is_admitted_by_its_hash_and_no_other(source: str) -> None:
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source
    assert "unsafe-inline'; script" in source


def test_every_atom_can_be_found_in_the_browser(page: Page, source: str) -> None:
    atoms = [attributes for tag, attributes in page.tags if attributes.get("class") == "atom"]
    assert len(atoms) == 4 * 12
    shares = [float(attributes["data-sort-share"] or 0) for attributes in atoms]
    assert shares == sorted(shares, reverse=True)
    for words in ("garden (shared label; tulip)", "highest", "top 25%", "Concepts over layers"):
        assert words in page.text, words
    assert '<mark class="s9">rose</mark>' in source
    assert "&lt;b&gt;" in source


def test_hidden_text_is_in_a_file_of_its_own_when_asked_for(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    path = build_report(copy, show_text=True)
    assert path.name == "report_with_text.html"
    assert SECRET in path.read_text()
    others = [file for file in copy.rglob("*") if file.is_file() and file != path]
    shared = [file for file in others if file.parent.name != "atoms"]
    assert (copy / "report.html") in shared
    assert [file for file in shared if SECRET.encode() in file.read_bytes()] == []


def test_says_verdict_figures_and_sections(page: Page) -> None:
    assert "Success : refusal fell from 0.99 to 0.02" in page.text
    for words in (
        "0.02 [0.01, 0.04]",
        "−0.97 ↓",
        "declines 300 3,900",
        "Controls that must fail",
        "Seconds by stage",
        "SHA-256",
        "The forecast passed.",
        "91% of the recipe's latents",
    ):
        assert words in page.text, words


def test_every_figure_has_words_and_can_be_reached_by_keyboard(page: Page) -> None:
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    wide = [
        attributes for attributes in figures if "-narrow" not in str(attributes["aria-labelledby"])
    ]
    assert len(wide) == len(FIGURES)
    assert len(ids) == len(set(ids))
    for attributes in figures:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= set(ids)
    scrolling = [a for _, a in page.tags if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)
    targets = [str(a["href"]) for tag, a in page.tags if tag == "a"]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)


def test_a_phone_gets_figures_of_its_own_width(source: str) -> None:
    drawn = re.findall(r'<div class="narrow"><svg[^>]*? width="([0-9.]+)"', source)
    assert len(drawn) >= len(FIGURES) - 2
    assert max(map(float, drawn)) < 1.1 * PHONE_WIDTH
    assert all(
        float(w) > 1.1 * PHONE_WIDTH
        for w in re.findall(r'<div class="wide"><svg[^>]*? width="([0-9.]+)"', source)[:-1]
    )


def test_says_what_the_edit_is_and_how_it_was_chosen(page: Page) -> None:
    text = page.text
    assert "code_map, chosen by auto" in text
    assert f"the direction of target layer {SHARED_LAYER} (from donor layer 4)" in text
    assert "is used at layers 1, 2, 3, 4" in text
    assert "less an offset of 0.5 of their standard deviation" in text
    assert f"{SHARED_LAYER} (used at all layers) 0.60 0.64 0.50" in text
    assert f"Target layer {SHARED_LAYER} from donor layer 4, whose direction is used" in text
    assert f"coefficient at layer {SHARED_LAYER}" in text


def test_a_route_that_was_asked_for_and_per_layer_directions_are_said(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("run: {transfer: {route: matched}}")
    plan = LayerPlan.per_layer(range(1, 5))
    summary = replace(make_summary(), plan=plan, mode="ablate", offset=None, route="matched")
    facts = dict(edit_facts(summary, RunFolder(tmp_path)))
    assert facts["Route"].startswith("matched, as asked for. The edit is written with up to")
    none = replace(summary.recipe, n_target_atoms_per_layer=(0, 0, 0, 0))
    said = dict(edit_facts(replace(summary, recipe=none), RunFolder(tmp_path)))["Route"]
    assert "names no target latent" in said
    assert "a direction of its own" in facts["Direction"]
    assert "offset" not in facts["Edit"]
    assert route_table(None) is None


def test_flows_that_act_come_first_with_what_they_are_where_they_act(folder: Path) -> None:
    atoms = tuple(FlowAtom(t, t, 10 + t, 2.0 * t - 7, None) for t in (2, 3))
    flow = ShownFlow(Flow("bread", 4.0, atoms), None)
    words = find_behavior("refusal").words
    (layer,) = read_recipe(folder, layer=3).layers
    assert layer.donor_atoms[0].evidence is not None
    evidence = replace(layer.donor_atoms[0].evidence, label="stones")
    atom = replace(layer.donor_atoms[0], latent=13, evidence=evidence)
    here: RecipeLayer = replace(layer, donor_atoms=(atom,))
    table = flows_table(Recipe((here,), (flow,), 3), words)
    assert table is not None
    assert table.texts(table.rows[0])[:3] == ["bread (at layer 3: stones)", "4.0", "-1.00"]
    table = flows_table(Recipe((here,), (flow,), 4), words)
    assert table is not None
    assert table.texts(table.rows[0])[:3] == ["bread", "4.0", "–"]


def test_every_figure_is_a_valid_specification(folder: Path) -> None:
    for figure in draw(RunFolder(folder), make_summary(), read_recipe(folder)):
        figure.chart.to_dict(validate=True)
    alt.Config.from_dict(LOOK)


def test_references_inside_figures_resolve(source: str, page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    assert set(re.findall(r"url\(#([^)]+)\)", source)) <= ids


def test_figures_follow_the_colours_of_the_page(source: str, folder: Path) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL))
    assert "currentColor" in drawn
    assert "#1c1e21" not in drawn.lower()
    assert "prefers-color-scheme: dark" in source
    saved = (folder / "figures" / "rate.svg").read_text()
    assert "var(--" not in saved  # the saved file stands alone


def test_figures_are_saved_twice(folder: Path) -> None:
    for name in FIGURES:
        ElementTree.fromstring((folder / "figures" / f"{name}.svg").read_text())
        data = (folder / "figures" / f"{name}.png").read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG")
        assert min(width, height) > 200


def test_prompts_and_answers_stay_out(source: str) -> None:
    assert "[redacted]" not in source
    assert "first script" not in source


def test_text_of_a_run_is_escaped(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    summary = read_summary(copy)
    odd = Condition("<b>odd & new</b>", summary.conditions[3].figures)
    verdict = Verdict("success", "<script>alert(1)</script>")
    write_summary(copy, replace(summary, verdict=verdict, conditions=(*summary.conditions, odd)))
    text = build_report(copy).read_text()
    assert "<script>" not in text
    assert "<b>odd" not in text
    assert "odd &amp; new" in text


def test_names_of_models_and_conditions_are_text_in_tables_and_figures(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    summary, marker = read_summary(copy), "<img src=x alt=marker>"
    donor = replace(summary.donor, name=marker, model=marker)
    target = replace(summary.target, name=marker, model=marker)
    conditions = tuple(
        replace(c, name=marker) if number == 3 else c for number, c in enumerate(summary.conditions)
    )
    write_summary(copy, replace(summary, donor=donor, target=target, conditions=conditions))
    text = build_report(copy).read_text()
    assert marker not in text
    assert "&lt;img src=x alt=marker&gt;" in text


def test_missing_figures_are_dashes(tmp_path: Path) -> None:
    summary = make_summary()
    unknown = tuple(replace(c, figures=unknown_figures()) for c in summary.conditions)
    none = {"forecast": {}, "ledger": (), "layer_map": (), "gamma": None}
    write_summary(tmp_path, replace(summary, conditions=unknown, **none))
    page = Page(build_report(tmp_path).read_text())
    assert "refusal, harmful – – –" in page.text
    assert "not computed in this run" in page.text


def test_a_rejected_run_has_a_report(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    for stage in ("evaluate", "curve"):
        shutil.rmtree(copy / stage)
    (copy / "guard" / "provenance.json").unlink()  # killed half-way
    rejected = Verdict("rejected", "too little overlap")
    write_summary(copy, replace(read_summary(copy), conditions=(), by_length=(), verdict=rejected))
    page = Page(build_report(copy).read_text())
    assert "Rejected : too little overlap" in page.text
    drawn = [a for tag, a in page.tags if tag == "svg"]
    assert len([a for a in drawn if "-narrow" not in str(a["aria-labelledby"])]) == 4


def test_a_report_is_kept_while_nothing_it_is_made_from_has_changed(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    page = copy / "report.html"
    before = page.stat().st_mtime_ns
    assert build_report(copy, reuse=True).stat().st_mtime_ns == before
    write_summary(copy, replace(read_summary(copy), budget="B0"))
    assert build_report(copy, reuse=True).stat().st_mtime_ns > before
    assert "budget B0;" in page.read_text()


def test_stages_are_listed_in_an_order_in_which_they_can_have_run(
    folder: Path, tmp_path: Path
) -> None:
    for name, needs in (("late", ["middle"]), ("early", []), ("middle", ["early", "elsewhere"])):
        write_stage(tmp_path, name, Seeds(0, 0), inputs=dict.fromkeys(needs, "ab"))
    assert list(RunFolder(tmp_path).provenance) == ["early", "middle", "late"]
    assert list(RunFolder(folder).provenance) == list(stage_results(make_summary()))


def test_a_summary_of_another_version_says_how_to_renew_it(folder: Path, tmp_path: Path) -> None:
    plain = to_json(make_summary())
    (tmp_path / "summary.json").write_text(json.dumps({**plain, "schema": 1}))
    with pytest.raises(ArtifactError, match="another version") as caught:
        build_report(tmp_path)
    assert "run the command that made this run again" in caught.value.fix


def test_without_a_summary_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"summary.json is missing"):
        build_report(tmp_path)
