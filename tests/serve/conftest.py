"""One server of the finished run for all tests of the page."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from conceptbasis.serve.opening import ServedRun
from conceptbasis.serve.server import Server


@pytest.fixture(scope="session")
def served(finished) -> ServedRun:
    """The finished run; its models are opened once a worker."""
    return ServedRun(finished.folder, "cpu")


@pytest.fixture(scope="session")
def server(served: ServedRun) -> Iterator[Server]:
    """A server on a port of its own."""
    server = Server(served)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.close()
    thread.join(10)
