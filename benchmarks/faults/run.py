"""A run that can be hurt: started as a process, watched stage by stage, compared file by file."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

_STAGE = re.compile(r"^\[\d+/\d+\] (\w+):", re.MULTILINE)
_MAY_DIFFER = (".lock", "report.html", "wandb/")
"""Holds no result: who works there; seconds of each stage; logs, in folders named by the time."""
OPENING, REPORT = "opening", "report"
"""What comes before the first stage and after the last."""


@dataclass
class Running:
    """A command at work.

    Args:
        process: Its number, and that of its group.
        log: Takes what it prints.
        seen: When each stage began, in seconds since the start.
        began: When it was started.
    """

    process: int
    log: Path
    seen: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    code: int | None = None

    def poll(self) -> bool:
        """Whether it still runs; stages that began meanwhile are noted."""
        for name in _STAGE.findall(self.log.read_text(errors="replace")):
            self.seen.setdefault(name, time.monotonic() - self.began)
        if self.code is None:
            number, status = os.waitpid(self.process, os.WNOHANG)
            if number:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def reach(self, place: str) -> bool:
        """Waits for a stage to begin; whether it did before the end."""
        while place != OPENING and place not in self.seen:
            if not self.poll():
                return place in self.seen
            time.sleep(0.002)
        return True

    def wait(self, seconds: float = 3600.0) -> int:
        """Its exit status; a signal that ended it is negative, and a hang is -9."""
        while self.poll():
            if time.monotonic() - self.began > seconds:
                self.send(signal.SIGKILL)
            time.sleep(0.01)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        """Sends a signal to it and to all that it started, as a terminal does."""
        os.killpg(self.process, number)

    def said(self) -> str:
        """Its first line that speaks of a fault."""
        lines = self.log.read_text(errors="replace").splitlines()
        words = ("error:", "interrupted;", "terminated;", "wandb failed", "Traceback")
        return next((li for li in lines if li.startswith(words)), "")


@dataclass(frozen=True)
class Subject:
    """The run that is hurt.

    Args:
        words: The command without `--out`.
        work: A folder for all tries.
        durations: Seconds of each place of an undisturbed run, in order.
    """

    words: Sequence[str]
    work: Path
    durations: Mapping[str, float] = field(default_factory=dict)

    @property
    def reference(self) -> Path:
        """The undisturbed run."""
        return self.work / "reference"

    @property
    def stages(self) -> list[str]:
        """The stages that it has."""
        return [name for name in self.durations if name not in (OPENING, REPORT)]

    def start(self, out: Path, *more: str, before: Callable[[], None] = lambda: None) -> Running:
        """Starts the command in a group of its own, with the libraries loaded already.

        Args:
            out: The run folder.
            more: More words.
            before: Called in the new process, such as to set a limit.
        """
        log = self.work / f"{out.name}.log"
        log.write_text("")
        process = os.fork()
        if process == 0:
            _be_command([*self.words, "--out", str(out), *more], log, before)
        return Running(process, log)

    def finish(self, out: Path) -> list[str]:
        """Runs the same command again and names the files that are not as in the reference."""
        again = self.start(out)
        code = again.wait()
        return differences(self.reference, out) if code == 0 else [f"status {code}: {again.said()}"]

    def without(self, first: str, out: Path) -> Path:
        """A copy of the reference as if it had been stopped before a stage."""
        shutil.copytree(self.reference, out)
        for stage in self.stages[self.stages.index(first) :]:
            shutil.rmtree(out / stage)
        (out / "summary.json").unlink()
        return out


def load_libraries() -> None:
    """Imports once what every process needs; a forked one starts at once."""
    import sae_lens  # noqa: F401
    import transformers  # noqa: F401

    import conceptbasis.pipeline
    import conceptbasis.report.html  # noqa: F401


def _be_command(words: list[str], log: Path, before: Callable[[], None]) -> None:
    """Becomes the command and never returns."""
    import atexit
    import traceback

    from conceptbasis.cli.main import main

    code = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (open(n, "w", buffering=1) for n in (1, 2))  # noqa: SIM115
        before()
        code = main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def table_of_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that holds a result, by its place.

    Left out are `MAY_DIFFER` and, in provenance, the seconds that a stage took.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith(_MAY_DIFFER):
            found[name] = sha256(_content(path)).hexdigest()
    return found


def _content(path: Path) -> bytes:
    if path.name != "provenance.json":
        return path.read_bytes()
    known = json.loads(path.read_bytes())
    return json.dumps({k: v for k, v in known.items() if k != "seconds"}).encode()


def differences(reference: Path, out: Path) -> list[str]:
    """Files that one of two runs lacks or that differ."""
    one, other = table_of_hashes(reference), table_of_hashes(out)
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def measured(words: Sequence[str], work: Path) -> Subject:
    """The subject with its undisturbed run made, and a control that a change is seen."""
    subject = Subject(words, work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    first = subject.start(work / "warm-up")  # fills the cache of SAEs
    if first.wait() != 0:
        raise SystemExit(f"the undisturbed run failed: {first.said()} (see {first.log})")
    running = subject.start(subject.reference)
    code, ended = running.wait(), time.monotonic() - running.began
    unlike = differences(work / "warm-up", subject.reference)
    if code or unlike:
        raise SystemExit(f"two undisturbed runs differ: {unlike or code}")
    _prove_that_a_change_is_seen(work / "warm-up", subject.reference)
    starts = {OPENING: 0.0, **running.seen}
    ends = [*list(starts.values())[1:], ended - 0.5]
    durations = {n: max(0.0, e - s) for (n, s), e in zip(starts.items(), ends, strict=True)}
    return Subject(words, work, {**durations, REPORT: 0.5})


def _prove_that_a_change_is_seen(copy: Path, reference: Path) -> None:
    path = next(copy.glob("*/tensors.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert differences(copy, reference) == [str(path.relative_to(copy))]
    shutil.rmtree(copy)
