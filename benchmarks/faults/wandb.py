"""wandb's server refuses, hangs, or dies: the run goes on, and says so once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.run import Subject
from benchmarks.faults.table import Try

_KEY = "0" * 40
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))


def servers(subject: Subject) -> Iterator[Try]:
    """Every way in which the server can fail."""
    yield _logged(subject, "wandb refuses", f"http://127.0.0.1:{_free_port()}", 0, None)
    for name, number, stage in (
        ("wandb hangs from the start", signal.SIGSTOP, None),
        ("wandb hangs in mid-run", signal.SIGSTOP, "match"),
        ("wandb dies in mid-run", signal.SIGKILL, "match"),
        ("wandb answers (the control)", 0, "match"),
    ):
        server, url = _start_server()
        if stage is None:
            os.kill(server, number)
        yield _logged(subject, name, url, server if stage else 0, number)
        os.kill(server, signal.SIGKILL) if number != signal.SIGKILL else None
        os.waitpid(server, 0)


def _logged(subject: Subject, name: str, url: str, server: int, number: int | None) -> Try:
    out = subject.work / "logged"

    def choose() -> None:
        os.environ.pop("WANDB_MODE", None)
        os.environ |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": _KEY}

    running = subject.start(out, "--wandb", "online", before=choose)
    running.reach("match")
    if server and number:
        os.kill(server, number)
    code = running.wait(600)
    lost = subject.finish(out)
    text = running.log.read_text(errors="replace")
    said = next((li for li in text.splitlines() if "wandb" in li and "failed" in li), "")
    shutil.rmtree(out)
    return Try(name, said[:110], code, tuple(lost))


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _start_server() -> tuple[int, str]:
    """A stand-in for wandb's server in a process of its own."""
    from wandb_server import Server

    server = Server()
    process = os.fork()
    if process == 0:
        try:
            server.serve_forever()
        finally:
            os._exit(0)
    url = server.url
    server.socket.close()
    return process, url
