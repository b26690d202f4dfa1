"""What ends a command from outside: signals, and memory that runs out."""

from __future__ import annotations

import os
import signal

import pytest

from conceptbasis.cli import main as command_line
from conceptbasis.cli.stopping import Terminated, raising_on_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_work_as_an_exception(number, code):
    before = signal.getsignal(number)
    with pytest.raises(Terminated) as caught, raising_on_signals():
        signal.raise_signal(number)
    assert caught.value.code == code
    assert signal.getsignal(number) == before


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raising_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def failing_with(error, monkeypatch):
    """`compare`, whose work raises an error."""
    from conceptbasis.cli.compare import COMPARE

    def fail(options):
        raise error

    monkeypatch.setattr(command_line, "find_command", lambda place: COMPARE._replace(run=fail))


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (MemoryError(), 2, "error: memory ran out (MemoryError)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: memory ran out"),
        (Terminated(129), 129, "terminated; the same command"),
        (KeyboardInterrupt(), 130, "interrupted; the same command"),
    ],
)
def test_each_end_has_a_line_and_a_status(error, code, says, monkeypatch, capsys):
    failing_with(error, monkeypatch)
    assert command_line.main(["compare"]) == code
    said = capsys.readouterr().err
    assert said.startswith(says)
    assert "Traceback" not in said


def test_another_error_is_not_taken_for_memory(monkeypatch):
    failing_with(RuntimeError("shapes do not fit"), monkeypatch)
    with pytest.raises(RuntimeError, match="shapes"):
        command_line.main(["compare"])
