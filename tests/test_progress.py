"""What long work says while it runs."""

from __future__ import annotations

from typing import ClassVar

from conceptbasis.runs import progress
from conceptbasis.runs.listening import Listener
from conceptbasis.runs.progress import Reporter


def test_lines_go_to_standard_error_with_their_prefix(capsys):
    Reporter().say("one")
    Reporter(prefix="seed 1").say("two")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "one\n[seed 1] two\n"


def test_quiet_reporter_says_nothing(capsys):
    reporter = Reporter(quiet=True)
    reporter.say("one")
    with reporter.bar("work") as advance:
        advance(1, 2, "")
    assert capsys.readouterr() == ("", "")


def test_away_from_a_terminal_a_bar_is_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 5.0, 11.0, 15.0, 22.0, 50.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Reporter().bar("work") as advance:
        for done, note in ((1, ""), (2, "loss 3"), (3, ""), (5, ""), (10, "")):
            advance(done, 10, note)
    assert capsys.readouterr().err.splitlines() == [
        "work: 2/10, about 44 s left, loss 3",
        "work: 5/10, about 22 s left",
    ]


def test_a_listener_hears_what_bars_of_its_reporter_show():
    class Heard(Listener):
        told: ClassVar[list[tuple[str, int, int]]] = []

        def on_progress(self, label, done, of):
            self.told.append((label, done, of))

    quiet = Reporter(quiet=True)
    with quiet.heard_by(Heard()).bar("work") as advance:
        advance(1, 2, "note")
    with quiet.bar("other") as advance:  # the control: the reporter itself has no listener
        advance(1, 2, "note")
    assert Heard.told == [("work", 1, 2)]


def test_on_a_terminal_a_bar_moves_and_vanishes(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with Reporter().bar("work") as advance:
        advance(1, 4, "note")
    assert "\n\n" not in capsys.readouterr().err


def test_details_are_for_the_verbose(capsys):
    Reporter().detail("one")
    Reporter(verbose=True).detail("two")
    Reporter(quiet=True, verbose=True).detail("three")
    assert capsys.readouterr().err == "two\n"
