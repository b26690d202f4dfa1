"""The server behind the page: this machine only, one answer at a time, nothing kept.

A page of somebody else must not drive it. So it listens on the loopback address, and refuses
a foreign Host (which a rebound name would send), a foreign Origin, and what lacks the token of its
address.
"""

from __future__ import annotations

import errno
import hmac
import json
import secrets
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from conceptbasis.errors import ConceptBasisError, ConfigError
from conceptbasis.serve.asking import Event, Question, Stopped, answer, parse_question
from conceptbasis.serve.denying import Denied, check_headers
from conceptbasis.serve.opening import ServedRun
from conceptbasis.serve.page import Page, render_page

HOST = "127.0.0.1"
_MOST_BYTES = 1 << 18
_SECONDS_TO_WAIT = 30.0
_SECONDS_TO_CLOSE = 10.0


@dataclass
class Turns:
    """Lets one answer be written at a time, and stops those that are no longer wanted."""

    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stops: int = field(default=0, init=False)

    def stop(self) -> None:
        """Ends the answer that is written now and those that wait."""
        self._stops += 1

    @property
    def mark(self) -> int:
        """Changes when something is stopped."""
        return self._stops

    def check(self, mark: int) -> None:
        """Ends an answer that began at a mark.

        Raises:
            Stopped: Something was stopped since.
        """
        if mark != self._stops:
            raise Stopped

    @contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """Waits for its turn.

        Raises:
            Denied: The one before it takes too long.
        """
        if not self._lock.acquire(timeout=seconds):
            raise Denied(
                409,
                "another answer is still being written",
                expected="one answer at a time",
                fix="stop the other one, or wait for its end",
            )
        try:
            yield
        finally:
            self._lock.release()


class Server(ThreadingHTTPServer):
    """Serves one run.

    Args:
        run: The run.
        port: Where to listen; 0 is any free port.

    Raises:
        ConfigError: The port is taken or not allowed.
    """

    daemon_threads = True
    allow_reuse_address = False  # a port that another server holds must not be shared in silence

    def __init__(self, run: ServedRun, port: int = 0) -> None:
        self.run, self.turns, self.token = run, Turns(), secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            taken = getattr(error, "errno", None) == errno.EADDRINUSE
            raise ConfigError(
                f"port {port} cannot be used: {'it is taken' if taken else error}",
                expected="a free port from 1024 to 65535",
                fix="give another --port, or leave it out for any free one",
            ) from error
        self.page: Page = render_page(run)

    @property
    def url(self) -> str:
        """The address of the page, with the token that opens it."""
        return f"http://{HOST}:{self.server_port}/?token={self.token}"

    def knows(self, token: str | None) -> bool:
        """Whether somebody has the token, compared in constant time."""
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def close(self) -> None:
        """Stops what is written, waits for its end, and gives the port back."""
        self.turns.stop()
        with self.turns.turn(_SECONDS_TO_CLOSE):
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """The page."""
        with self._answering():
            url = urlsplit(self.path)
            self._check(parse_qs(url.query).get("token", [None])[0])
            if url.path != "/":
                raise _no_such_page(url.path)
            self._begin(200, "text/html; charset=utf-8", self.server.page.policy)
            self.wfile.write(self.server.page.html)

    def do_POST(self) -> None:
        """A question, or the wish to hear no more of an answer."""
        with self._answering():
            self._check(self.headers.get("X-Token"))
            if self.path == "/stop":
                self.server.turns.stop()
                self._begin(204, None)
            elif self.path == "/ask":
                self._ask(parse_question(self._read_json()))
            else:
                raise _no_such_page(self.path)

    def _check(self, token: str | None) -> None:
        check_headers(self.headers, self.server.server_port)
        if not self.server.knows(token):
            raise Denied(
                403,
                "the token is missing or wrong",
                expected="the address as `conceptbasis serve` printed it",
                fix="copy the whole address; each start has a token of its own",
            )

    def _read_json(self) -> object:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > _MOST_BYTES:
            raise Denied(
                413,
                f"a body of {length[:20] or 'unknown'} bytes",
                expected=f"at most {_MOST_BYTES} bytes, and their number in Content-Length",
                fix="shorten the prompt",
            )
        if self.headers.get_content_type() != "application/json":
            raise Denied(
                415,
                f"a body of type {self.headers.get_content_type()}",
                expected="application/json",
                fix="set Content-Type",
            )
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Denied(
                400, f"the body is no JSON ({error})", expected="a JSON object", fix="correct it"
            ) from error

    def _ask(self, question: Question) -> None:
        turns = self.server.turns
        mark = turns.mark
        with turns.turn(_SECONDS_TO_WAIT):
            self._begin(200, "application/x-ndjson; charset=utf-8")

            def tell(event: Event) -> None:
                turns.check(mark)
                if _is_gone(self.connection):
                    raise ConnectionAbortedError
                self._send(event)

            try:
                answer(self.server.run, question, tell)
            except Stopped:
                self._send({"end": {"why": "stopped"}})
            except ConceptBasisError as error:
                self._send({"error": _described(error)})
            except ConnectionError:
                raise
            except Exception as error:
                self._send({"error": {"what": f"{type(error).__name__}: {error}"}})
                raise

    def _send(self, event: Event) -> None:
        self.wfile.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        self.wfile.flush()

    def _begin(self, status: int, kind: str | None, policy: str = "default-src 'none'") -> None:
        self.send_response(status)
        if kind is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", policy)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Says what is refused; a page that was closed is no error."""
        try:
            yield
        except Denied as denied:
            self._begin(denied.status, "application/json; charset=utf-8")
            self._send({"error": _described(denied)})
        except ConceptBasisError as error:
            self._begin(400, "application/json; charset=utf-8")
            self._send({"error": _described(error)})
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing: what is asked is nobody's business."""

    def version_string(self) -> str:
        """Names no versions."""
        return "conceptbasis"


_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def _described(error: ConceptBasisError) -> dict[str, str]:
    return {"what": error.what, "expected": error.expected, "fix": error.fix}


def _no_such_page(path: str) -> Denied:
    return Denied(
        404, f"there is nothing at {path[:60]}", expected="/, /ask or /stop", fix="open the page"
    )


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other end was closed; a page has nothing more to say after its question."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""


def serve_until_stopped(server: Server, announce: Callable[[], None]) -> None:
    """Serves until Ctrl-C.

    Args:
        server: The server.
        announce: Says where; what comes while it does so ends the server, too.
    """
    try:
        announce()
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        print("closed", file=sys.stderr)
    finally:
        server.close()
