"""The page in a real browser: ask, read both answers, move the slider, stop, close."""

from __future__ import annotations

import time
from collections.abc import Iterator

import chromium
import pytest
from asked import KETAMINE

from conceptbasis.edits.finished import answer_both
from conceptbasis.serve import server as module

pytestmark = pytest.mark.skipif(
    chromium.EXECUTABLE is None, reason="Chromium is not installed (Debian package chromium)"
)
STATES = "[...document.querySelectorAll('.panel .state')].map((s) => s.textContent)"
ANSWERS = "[...document.querySelectorAll('.panel .answer')].map((a) => a.textContent)"
FIRES = "[...document.querySelectorAll('.panel')].map((p) => p.querySelectorAll('.fire').length)"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.page(tmp_path_factory.mktemp("serve") / "profile") as page:
        page.visit(server.url)
        yield page


def until(page: chromium.Page, holds: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not page.evaluate(holds):
        assert time.monotonic() < end, (page.evaluate(STATES), page.complaints())
        time.sleep(0.05)


def ask(page: chromium.Page, prompt: str) -> list[str]:
    page.evaluate("document.getElementById('prompt').value = ''")
    page.evaluate("document.getElementById('prompt').focus()")
    page.call("Input.insertText", text=prompt)
    page.evaluate("document.getElementById('send').click()")
    until(page, f"{STATES}.every((s) => /^(ended|cut)/.test(s))")
    return page.evaluate(ANSWERS)


def test_both_models_answer_untouched_and_edited_as_in_replay(page, served):
    side = served.side("target", lambda line: None)
    (before,), (after,), _ = answer_both(
        side.loaded, served.edit, [KETAMINE], max_new_tokens=served.longest_answer
    )
    assert before != after
    donor, moved, plain, edited = ask(page, KETAMINE)
    assert (plain, edited) == (before, after)
    assert donor != moved
    states = page.evaluate(STATES)
    assert ["untouched" in state for state in states] == [True, False, True, False]


def test_under_tokens_stand_latents_with_their_labels(page):
    assert all(n > 0 for n in page.evaluate(FIRES))
    title = page.evaluate("document.querySelector('.panel[data-side=donor] .fire').title")
    assert title.startswith("donor layer ")
    assert "coefficient" in title
    page.evaluate(
        "layer.value = [...layer.options].at(-1).value; layer.dispatchEvent(new Event('change'))"
    )
    chosen = page.evaluate("layer.value").split(":")
    assert chosen[0] == "target"
    assert page.evaluate(FIRES)[:2] == [0, 0]  # latents of the target alone
    titles = page.evaluate("[...document.querySelectorAll('.fire')].map((f) => f.title)")
    assert titles
    assert all(t.startswith(f"target layer {chosen[1]},") for t in titles)
    page.evaluate("layer.value = ''; layer.dispatchEvent(new Event('change'))")


def test_the_slider_asks_the_edited_models_again(page):
    before = page.evaluate(ANSWERS)
    script = "strength.value = '0'; for (const n of ['input', 'change']) "
    page.evaluate(f"{script}strength.dispatchEvent(new Event(n))")
    assert page.evaluate("document.getElementById('strength-value').value") == "0.00"
    until(page, f"{STATES}.every((s) => /^(ended|cut).*untouched/.test(s))")
    donor, same, plain, edited = page.evaluate(ANSWERS)
    assert (same, edited) == (donor, plain) == (before[0], before[2])
    page.evaluate("strength.value = '1'; strength.dispatchEvent(new Event('change'))")
    until(page, f"{STATES}.filter((s) => /edited/.test(s)).length == 2")
    assert page.evaluate(ANSWERS) == before


def test_what_models_and_people_write_is_shown_and_never_run(page, monkeypatch):
    def hostile(run, question, tell):
        tell({"warning": HOSTILE})
        tell({"piece": {"at": 0, "part": "answer", "text": HOSTILE}})
        tell({"place": {"at": 0, "fires": [], "sinks": []}})
        tell({"end": {"why": "ended", "text": HOSTILE, "tokens": 1, "edited": HOSTILE}})

    monkeypatch.setattr(module, "answer", hostile)
    assert ask(page, HOSTILE) == [HOSTILE] * 4
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("warning.textContent") == HOSTILE


def test_stop_stops(page, monkeypatch):
    ended = []

    def talk(run, question, tell):
        try:
            for number in range(2000):
                tell({"piece": {"at": number, "part": "answer", "text": "a "}})
                time.sleep(0.01)
        except BaseException as error:
            ended.append(error)
            raise

    monkeypatch.setattr(module, "answer", talk)
    page.evaluate("document.getElementById('send').click()")
    until(page, f"{ANSWERS}[0].length > 10")
    assert not page.evaluate("stop.disabled")
    page.evaluate("stop.click()")
    until(page, f"{STATES}.every((s) => s == 'stopped')")
    until(page, "stop.disabled")
    assert len(ended) == 1
    time.sleep(0.3)
    assert page.evaluate(ANSWERS)[1] == ""  # the others were not begun


def test_an_error_is_shown_with_what_to_do(page):
    page.evaluate(f"document.getElementById('prompt').value = {'what is a rose ? ' * 80!r}")
    page.evaluate("document.getElementById('send').click()")
    until(page, f"{STATES}.every((s) => s.includes('to fix:'))")
    assert "tokens" in page.evaluate(STATES)[0]


@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_asks_nobody_else_and_complains_about_nothing(page, server, width):
    page.show(width=width, dark=width == 360)
    ask(page, KETAMINE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    asked = page.requests()
    assert {url.split("/")[2] for url in asked} == {f"127.0.0.1:{server.server_port}"}
    assert [c for c in page.complaints() if "favicon" not in str(c)] == []
    assert all(name.strip() for _, name in page.controls())


def test_a_page_that_is_closed_ends_its_answer(server, tmp_path, monkeypatch):
    ended = []

    def talk(run, question, tell):
        try:
            for number in range(3000):
                tell({"piece": {"at": number, "part": "answer", "text": "a "}})
                time.sleep(0.01)
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    monkeypatch.setattr(module, "answer", talk)
    with chromium.page(tmp_path / "profile") as page:
        page.visit(server.url)
        page.evaluate("document.getElementById('prompt').value = 'a'")
        page.evaluate("document.getElementById('send').click()")
        until(page, f"{ANSWERS}[0].length > 4")
        assert ended == []
        page.call("Page.navigate", url="about:blank")
        end = time.monotonic() + 20
        while not ended and time.monotonic() < end:
            time.sleep(0.05)
    assert ended
    assert ended[0].startswith("Connection")
