"""The report in a real browser: alone, silent, usable by keyboard, and readable at any width."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conceptbasis.report.html import build_report

sys.path.insert(0, str(Path(__file__).parent))
import chromium
from synthetic_run import SHARED_LAYER, write_run

pytestmark = pytest.mark.skipif(
    chromium.EXECUTABLE is None, reason="Chromium is not installed (Debian package chromium)"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    folder = write_run(tmp_path_factory.mktemp("browser") / "run")
    report = build_report(folder)
    with chromium.page(folder / "profile") as page:
        page.open(report)
        yield page


def shown(page: chromium.Page) -> list[str]:
    script = "[...document.querySelectorAll('.atom:not([hidden]) summary .where')]"
    return page.evaluate(f"{script}.map((item) => item.textContent)")


def choose(page: chromium.Page, name: str, value: str) -> None:
    field = f"document.getElementById('atom-{name}')"
    page.evaluate(f"{field}.value = '{value}'; {field}.dispatchEvent(new Event('change'))")


def test_it_asks_nothing_of_the_network_and_complains_about_nothing(page: chromium.Page) -> None:
    assert [url for url in page.requests() if not url.startswith("file:")] == []
    assert len(page.requests()) == 1
    assert page.complaints() == []


def test_every_control_has_a_name(page: chromium.Page) -> None:
    controls = page.controls()
    assert all(name.strip() for _, name in controls), controls
    names = {name: role for role, name in controls}
    assert names["Search"] == "searchbox"
    assert names["Target layer"] == names["Sort by"] == "combobox"
    assert any(role == "DisclosureTriangle" for role, _ in controls)


def test_atoms_of_the_replayed_layer_are_shown_first(page: chromium.Page) -> None:
    assert {text.split()[1] for text in shown(page)} == {str(SHARED_LAYER)}
    choose(page, "layer", "")
    assert len({text.split()[1] for text in shown(page)}) == 4


def test_a_phone_sees_the_narrow_figures_whole(page: chromium.Page) -> None:
    for width, kind in ((360, "narrow"), (1200, "wide")):
        page.show(width=width, dark=False)
        drawn = f"[...document.querySelectorAll('figure .{kind} svg')]"
        sizes = page.evaluate(f"{drawn}.map((s) => s.getBoundingClientRect().width)")
        assert sizes
        assert min(sizes) > 0
        fits = "document.querySelectorAll('figure .scroll')"
        wide = page.evaluate(f"[...{fits}].filter((s) => s.scrollWidth > s.clientWidth + 1).length")
        assert wide == 0


def test_search_by_keyboard_filters_atoms(page: chromium.Page) -> None:
    every = shown(page)
    page.evaluate("document.getElementById('atom-search').focus()")
    page.call("Input.insertText", text="GARDEN tulip")
    found = shown(page)
    assert 0 < len(found) < len(every)
    count = page.evaluate("document.getElementById('atom-count').value")
    assert count == f"{len(found)} of {len(every)} atoms"
    page.evaluate("document.getElementById('atom-search').select()")
    page.press("Backspace", 8)
    assert shown(page) == every


def test_filter_by_layer_and_sort(page: chromium.Page) -> None:
    choose(page, "sort", "layer")
    layers = [int(text.split()[1]) for text in shown(page)]
    assert layers == sorted(layers)
    choose(page, "layer", "2")
    assert {text.split()[1] for text in shown(page)} == {"2"}
    choose(page, "layer", "")
    choose(page, "sort", "share")


def test_an_atom_opens_by_keyboard(page: chromium.Page) -> None:
    page.evaluate("document.querySelector('.atom summary').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r")
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter")
    assert page.evaluate("document.querySelector('.atom details').open")
    assert page.evaluate("document.querySelectorAll('.atom details[open] mark').length") > 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits_its_width_in_both_schemes(
    page: chromium.Page, width: int, dark: bool
) -> None:
    page.show(width=width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(background[4:].split(",")[0]) < 60) == dark
    assert page.screenshot().startswith(b"\x89PNG")


def test_the_first_column_stays_while_a_wide_table_scrolls(page: chromium.Page) -> None:
    page.show(width=800, dark=False)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    wide = "[...document.querySelectorAll('.scroll:has(table)')].filter((s) => s.scrollWidth > "
    wide += "s.clientWidth + 200)[0]"
    lefts = f"['th[scope=row]', 'td'].map((n) => {wide}.querySelector(n)"
    before = page.evaluate(f"{lefts}.getBoundingClientRect().left)")
    page.evaluate(f"{wide}.scrollLeft = 150")
    name, cell = page.evaluate(f"{lefts}.getBoundingClientRect().left)")
    assert cell == before[1] - 150  # the control: it did scroll
    assert name == before[0]
    page.evaluate(f"{wide}.scrollLeft = 0")
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = false; })")


def test_the_page_prints_whole(page: chromium.Page) -> None:
    page.show(width=1200, dark=True)
    closed = "[...document.querySelectorAll('main > details table')][0]"
    page.evaluate(f"{closed}.closest('details').open = false")
    visible = f"{closed}.checkVisibility({{contentVisibilityAuto: true}})"
    shown = page.evaluate(visible)
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert not shown
    assert page.evaluate(visible)  # what is folded on the screen is printed
    display = "getComputedStyle(document.querySelector('.controls')).display"
    assert page.evaluate(display) == "none"
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == "rgb(255, 255, 255)"
    pdf = page.call("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert len(pdf) > 10_000
    page.call("Emulation.setEmulatedMedia", media="", features=[])
    assert page.evaluate(display) != "none"


def test_a_phone_shows_before_and_after_without_scrolling(page: chromium.Page) -> None:
    page.show(width=360, dark=False)
    table = "document.querySelector('table.stack')"
    assert page.evaluate(f"{table}.scrollWidth <= {table}.parentElement.clientWidth")
    right = f"[...{table}.querySelectorAll('td')].map((cell) => cell.getBoundingClientRect().right)"
    assert max(page.evaluate(right)) <= 360
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node.get("ignored")]
    assert roles.count("table") > 3
