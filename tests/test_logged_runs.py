"""Logged runs are read through wandb's public API, here from a local stand-in of it."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conceptbasis.behaviors import find_behavior
from conceptbasis.cli.main import main
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.errors import ConceptBasisError, ConfigError
from conceptbasis.evaluation.metrics import RunView, flat_figures, unflatten, view_of
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.compared.runs import compare
from conceptbasis.report.logged_series import logged_series
from conceptbasis.report.table import terminal
from conceptbasis.results.summary import Summary, Verdict
from conceptbasis.runs.storage import to_json
from conceptbasis.runs.summary import write_summary
from conceptbasis.tracking import workspace
from conceptbasis.tracking.logged_runs import read_logged_runs

sys.path.insert(0, str(Path(__file__).parent / "report"))
from synthetic_run import figures, make_summary, with_condition, write_run

KEY = "0123456789abcdef" * 2 + "01234567"


class StandIn(ThreadingHTTPServer):
    """Answers the queries that a listing of runs needs, and keeps what it was asked.

    Args:
        runs: Group, name and summary of each run.
    """

    def __init__(self, runs: list[tuple[str, str, Summary]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs = runs
        self.asked: list[dict[str, Any]] = []
        self.saved: list[dict[str, Any]] = []

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        query = body.get("query", "")
        if "upsertView" in query:
            self.saved.append(body["variables"])
            return {"upsertView": {"view": {"id": "1", "name": "nw-1-v"}, "inserted": True}}
        if "query Runs" not in query:
            viewer = {"id": "1", "entity": "team", "username": "u", "email": "", "flags": "{}"}
            return {"viewer": {**viewer, "teams": {"edges": []}}}
        wanted = json.loads(body["variables"]["filters"])
        self.asked.append({**body["variables"], "filters": wanted})
        found = [run for run in self.runs if wanted.get("group") in (None, run[0])]
        edges = [{"node": _node(i, *run), "cursor": str(i)} for i, run in enumerate(found)]
        page = {"endCursor": None, "hasNextPage": False}
        listed = {"edges": edges, "pageInfo": page}
        project = {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": listed}
        return {"project": project}


def _node(number: int, group: str, name: str, summary: Summary) -> dict[str, Any]:
    times = dict.fromkeys(("createdAt", "heartbeatAt"), "2026-01-01T00:00:00")
    texts = dict.fromkeys(("description", "notes", "commit", "sweepName"), "")
    return {**times, **texts} | {
        "id": str(number),
        "name": f"run{number}",
        "displayName": name,
        "group": group,
        "jobType": "transfer",
        "state": "finished",
        "tags": [],
        "config": json.dumps({"about": {"value": to_json(view_of(summary).about)}}),
        "summaryMetrics": json.dumps(flat_figures(summary)),
        "systemMetrics": "{}",
        "readOnly": False,
        "historyLineCount": 1,
        "historyKeys": None,
        "user": {"name": "u", "username": "u"},
        "projectId": "1",
    }


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.loads(raw) if raw.startswith(b"{") else {}
        data = json.dumps({"data": self.server.answer(body)}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


def partial() -> Summary:
    return replace(make_summary(), verdict=Verdict("partial", ""))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    other = partial()
    runs = [("a", "seed 0", make_summary()), ("a", "seed 1", other), ("b", "seed 0", other)]
    with StandIn(runs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.delenv("WANDB_MODE", raising=False)
        yield server
        server.shutdown()


def printed(runs: dict[str, RunView]) -> str:
    out = io.StringIO()
    for table in compare(runs):
        Console(file=out, width=80).print(terminal(table, max_width=17))
    return out.getvalue()


def test_logged_runs_give_the_table_that_their_folders_give(stand_in: StandIn) -> None:
    found = read_logged_runs("team/project", group="a")
    assert list(found) == ["seed 0", "seed 1"]
    assert stand_in.asked[0]["filters"] == {"jobType": "transfer", "group": "a"}
    assert (stand_in.asked[0]["entity"], stand_in.asked[0]["project"]) == ("team", "project")
    folders = {"seed 0": make_summary(), "seed 1": partial()}
    assert printed(found) == printed({name: view_of(s) for name, s in folders.items()})


def test_runs_of_an_older_form_are_left_out(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_logged_runs("team/project", group="a")
    about = to_json(found["seed 1"].about) | {"basis": "code_map"}
    node = _node(0, "a", "old", make_summary())
    node["config"] = json.dumps({"about": {"value": about}})
    monkeypatch.setattr(sys.modules[__name__], "_node", lambda *_: node)
    with pytest.raises(ConfigError, match="no finished transfer"):
        read_logged_runs("team/project")


def test_the_command_prints_logged_runs_beside_folders(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_summary(tmp_path, make_summary())
    assert main(["compare", str(tmp_path), "--wandb", "team/project", "--group", "b"]) == 0
    shown = capsys.readouterr().out
    assert "seed 0" in shown
    assert "partial" in shown
    assert main(["compare", str(tmp_path), "--group", "b"]) == 2


def test_runs_of_one_name_are_told_apart(stand_in: StandIn) -> None:
    assert list(read_logged_runs("team/project")) == ["seed 0 (run0)", "seed 1", "seed 0 (run2)"]


def test_flat_figures_keep_what_comparisons_read() -> None:
    capability = {**figures("transfer").capability, "gsm": Interval(0.5, 0.4, 0.6, 9)}
    summary = with_condition(make_summary(), "transfer", capability=capability)
    view, flat = view_of(summary), json.loads(json.dumps(flat_figures(summary)))
    assert printed({"run": unflatten(view.about, flat)}) == printed({"run": view})


def test_nothing_logged_is_an_error(stand_in: StandIn) -> None:
    with pytest.raises(ConfigError, match="no finished transfer is logged in team/project, group"):
        read_logged_runs("team/project", group="none")


@pytest.mark.parametrize("path", ["project", "/project", "team/", "team/project/run"])
def test_a_path_is_entity_and_project(path: str) -> None:
    with pytest.raises(ConfigError, match="ENTITY/PROJECT"):
        read_logged_runs(path)


def test_without_a_key_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no wandb API key"):
        read_logged_runs("team/project")


def test_a_failure_of_wandb_is_reported(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "answer", lambda body: {"viewer": None})
    with pytest.raises(ConceptBasisError, match="wandb gives no runs of team/project"):
        read_logged_runs("team/project")


# The workspace


def test_a_workspace_shows_figures_that_are_logged(stand_in: StandIn, tmp_path: Path) -> None:
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    address = workspace.save_workspace("team/project")
    assert "team/project" in address
    (saved,) = stand_in.saved
    assert (saved["entityName"], saved["projectName"]) == ("team", "project")
    assert saved["displayName"] == "conceptbasis"
    behavior = find_behavior("refusal")
    bars = workspace.bars(behavior)
    shown = [key for keys in bars.values() for key in keys]
    assert all(json.dumps(key) in saved["spec"] for key in [*shown, *workspace.LINES])
    summary = make_summary()
    known = {**summary.forecast, "neighbour_effect": Interval(0.5, 0.4, 0.6, 9)}
    assert set(shown) <= set(flat_figures(replace(summary, forecast=known)))
    run = RunFolder(write_run(tmp_path / "run"))
    found = [s for stage in run.provenance for s in logged_series(run, stage, behavior)]
    known_series = {name for s in found for figures in s.rows.values() for name in figures}
    assert set(workspace.LINES) <= known_series
    curves = [key for keys in workspace.curves(behavior).values() for key in keys]
    assert {"curve/transfer/refusal", "strengths/native/kl"} <= set(curves)
    assert "lengths/baseline/refusal" in curves
    assert all(json.dumps(key) in saved["spec"] for key in [*curves, *workspace.IMAGES])
    assert {key for key in curves if "per_layer" not in key} <= known_series
    sections = json.loads(saved["spec"])["section"]["panelBankConfig"]["sections"]
    assert [s["name"] for s in sections][:2] == ["Figures", "Curves"]  # before bars and layers
    media = [p["config"]["mediaKeys"] for p in sections[0]["panels"] if "mediaKeys" in p["config"]]
    assert media == [[key] for key in workspace.IMAGES]


def test_a_missing_package_is_named(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ConfigError, match="wandb-workspaces is not installed"):
        workspace.save_workspace("team/project")
