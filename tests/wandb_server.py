"""A local stand-in for wandb's server: it takes runs, answers whoever resumes one, and leads a
sweep."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"


@dataclass
class ServerRun:
    """What the server knows of a run."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    n_started: int = 0


class Server(ThreadingHTTPServer):
    """Answers the queries of runs, resumption, `wandb sync` and `wandb agent`.

    Args:
        sweep: Configuration of the one sweep, as YAML.
        runs_of_sweep: Parameters of each run that an agent is given.
    """

    daemon_threads = True

    def __init__(self, sweep: str = "", runs_of_sweep: tuple[dict[str, Any], ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, ServerRun] = {}
        self.asked: list[str] = []
        self.sweep, self.left = sweep, list(runs_of_sweep)
        self.commands = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Data for a query."""
        query, given = body.get("query", ""), body.get("variables") or {}
        name = query.split("(")[0].split("{")[0].split()[-1] if query else ""
        self.asked.append(name)
        found = getattr(self, f"_{name}", None)
        return found(given) if found else dict(_PLAIN)

    def _UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(given["name"], ServerRun(given["name"]))
        run.n_started += 1
        run.fields |= {key: value for key, value in given.items() if value is not None}
        bucket = {
            "id": given["name"],
            "name": given["name"],
            "displayName": run.fields.get("displayName"),
        }
        bucket |= {"description": "", "config": None, "sweepName": given.get("sweep")}
        bucket |= {"project": _PROJECT, "historyLineCount": len(run.history)}
        return {"upsertBucket": {"bucket": bucket, "inserted": run.n_started == 1}}

    def _RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        found = None
        if run is not None:
            last = run.history[max(run.history)] if run.history else {}
            found = {
                "id": run.name,
                "name": run.name,
                "displayName": run.fields.get("displayName"),
                "summaryMetrics": json.dumps(run.summary),
                "logLineCount": 0,
                "historyLineCount": len(run.history),
                "eventsLineCount": 0,
                "historyTail": json.dumps([json.dumps(last)]),
                "eventsTail": "[]",
                "config": run.fields.get("config", "{}"),
                "tags": [],
                "notes": "",
                "wandbConfig": "{}",
            }
        return {"model": {**_PROJECT, "bucket": found}}

    def _Heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        commands: list[dict[str, Any]] = []
        states = json.loads(given.get("runState") or "{}")
        if not self.left and not states:
            commands = [{"type": "exit"}]
        elif not states:
            arguments = {key: {"value": value} for key, value in self.left.pop(0).items()}
            self.commands += 1
            run = {"run_id": f"sweeprun{self.commands}", "program": "program.py"}
            commands = [{"type": "run", **run, "args": arguments}]
        return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": json.dumps(commands)}}

    def _SweepWithRuns(self, given: dict[str, Any]) -> dict[str, Any]:
        fields = dict.fromkeys(("method", "description", "createdAt", "bestLoss", "controller"))
        sweep = {"id": "1", "name": "s1", "state": "RUNNING", "config": self.sweep, **fields}
        return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}

    def take(self, run_name: str, body: dict[str, Any]) -> None:
        """Rows, figures and the end of a run, as its file stream sends them."""
        run = self.runs.setdefault(run_name, ServerRun(run_name))
        for name, part in (body.get("files") or {}).items():
            for number, line in enumerate(part["content"], part["offset"]):
                if name == "wandb-history.jsonl":
                    run.history[number] = json.loads(line)
                elif name == "wandb-summary.json":
                    run.summary |= json.loads(line)
        if body.get("exitcode") is not None:
            run.exit_code = body["exitcode"]


_PROJECT = {"id": "1", "name": "p", "entity": {"id": "1", "name": "team"}}
_VIEWER = {"id": "1", "entity": "team", "username": "u", "email": "", "flags": "{}"}
_ARTIFACT = {"id": "1", "state": "COMMITTED"}
_PLAIN = {
    "viewer": {**_VIEWER, "teams": {"edges": []}},
    "serverInfo": {"cliVersionInfo": {"max_cli_version": "0.31.0"}, "features": []},
    "createAgent": {"agent": {"id": "agent1"}},
    "createArtifact": {"artifact": {**_ARTIFACT, "artifactSequence": {"latestArtifact": None}}},
    "createRunFiles": {"runID": "1", "uploadHeaders": [], "files": []},
}


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            raw = gzip.decompress(raw)
        body = json.loads(raw) if raw.startswith(b"{") else {}
        if self.path.endswith("/file_stream"):
            self.server.take(self.path.split("/")[-2], body)
            answer: dict[str, Any] = {}
        else:
            answer = {"data": self.server.answer(body)}
        self._send(answer)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._send({})

    def do_GET(self) -> None:
        self._send({})

    def _send(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


def environment(server: Server | None = None) -> dict[str, str]:
    """The environment of a process that has a service of wandb of its own.

    Args:
        server: The server that it is to use.
    """
    found = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    if server is not None:
        found |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    return found


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server at work."""
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
