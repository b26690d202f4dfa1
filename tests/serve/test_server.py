"""The server: who is answered, who is refused and why, one answer at a time, stopped at once."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from asked import KETAMINE

from conceptbasis.cli.main import main
from conceptbasis.errors import ArtifactError, ConfigError, SaeError
from conceptbasis.serve import server as module
from conceptbasis.serve.opening import ServedRun
from conceptbasis.serve.server import Server

QUESTION = {"prompt": KETAMINE, "side": "target", "strength": 1.0, "max_new_tokens": 12}


def request(server, method="POST", path="/ask", body=None, **headers):
    """Status, headers and body of a request; a header that is None is left out."""
    given = QUESTION if body is None else body
    data = given if isinstance(given, bytes) else json.dumps(given).encode()
    known = {
        "Host": f"127.0.0.1:{server.server_port}",
        "X-Token": server.token,
        "Content-Type": "application/json",
        "Content-Length": str(len(data)) if method == "POST" else None,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in known.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(data if method == "POST" else None)
    found = connection.getresponse()
    said = SimpleNamespace(status=found.status, headers=found.headers, text=found.read().decode())
    connection.close()
    return said


def lines(said):
    return [json.loads(line) for line in said.text.splitlines()]


def test_a_question_is_answered_line_by_line(server):
    said = request(server)
    assert said.status == 200
    assert said.headers["Cache-Control"] == "no-store"
    found = lines(said)
    assert [*found[-1]] == ["end"]
    assert {key for line in found for key in line} >= {"state", "piece", "place", "end"}


def test_the_page_is_given_to_who_has_its_address(server):
    path = server.url.partition(f":{server.server_port}")[2]
    said = request(server, "GET", path)
    assert said.status == 200
    assert "unsafe" not in said.headers["Content-Security-Policy"]
    assert "default-src 'none'" in said.headers["Content-Security-Policy"]
    assert server.token not in said.text
    assert request(server, "GET", "/?token=wrong").status == 403
    assert request(server, "GET", "/").status == 403
    assert request(server, "GET", f"/x?token={server.token}").status == 404
    assert request(server, "PUT").status == 501


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Token": "wrong"},
        {"X_Token": None},
        {"X_Token": "\u00e9"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": None},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/ask", "/stop"])
def test_who_comes_from_elsewhere_is_refused(server, headers, path):
    mark = server.turns.mark
    said = request(server, path=path, **headers)
    assert said.status == 403
    (error,) = lines(said)
    assert {*error["error"]} == {"what", "expected", "fix"}
    assert "Access-Control-Allow-Origin" not in said.headers
    assert server.turns.mark == mark
    own = f"http://127.0.0.1:{server.server_port}"
    assert request(server, path="/nothing", Origin=own).status == 404  # the control


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"body": b"{"}, 400, "no JSON"),
        ({"body": b"\xff\xfe\x00"}, 400, "no JSON"),
        ({"body": b"[" * 100_000}, 400, "JSON"),
        ({"body": {**QUESTION, "strength": 7}}, 400, "strength is"),
        ({"body": {**QUESTION, "prompt": "a\ud800b"}}, 400, "the prompt"),
        ({"body": []}, 400, "a question of list"),
        ({"Content_Type": "text/plain"}, 415, "text/plain"),
        ({"Content_Length": None}, 413, "bytes"),
        ({"Content_Length": "-1"}, 413, "bytes"),
        ({"body": b" " * 300_000}, 413, "bytes"),
    ],
)
def test_what_is_no_question_is_refused_with_a_reason(server, sent, status, said):
    try:
        found = request(server, **sent)
    except ConnectionError:
        assert status == 413  # the server hung up on a body that it does not read
        return
    assert found.status == status
    assert said in lines(found)[0]["error"]["what"]


def test_a_prompt_that_is_too_long_is_said_in_the_stream(server):
    said = request(server, body={**QUESTION, "prompt": "what is a rose ? " * 60})
    assert said.status == 200
    assert "tokens" in lines(said)[-1]["error"]["what"]
    assert [*lines(request(server))[-1]] == ["end"]  # the next one is answered


@pytest.fixture
def talking(monkeypatch):
    """An answer without end; says how it ended and whether two were written at once."""
    seen = SimpleNamespace(ended=[], at_once=0, most=0, started=threading.Event())

    def talk(run, question, tell):
        seen.at_once += 1
        seen.most = max(seen.most, seen.at_once)
        try:
            for number in range(2000):
                tell({"piece": {"at": number, "part": "answer", "text": "a "}})
                seen.started.set()
                time.sleep(0.01)
        except BaseException as error:
            seen.ended.append(type(error).__name__)
            raise
        finally:
            seen.at_once -= 1

    monkeypatch.setattr(module, "answer", talk)
    return seen


def until(holds, seconds=10.0):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    assert holds()


def test_a_page_that_is_closed_ends_its_answer(server, talking):
    body = json.dumps(QUESTION)
    head = (
        f"POST /ask HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\nX-Token: {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall((head + body).encode())
        assert talking.started.wait(10)
        assert talking.ended == []  # the control: open, it goes on
    until(lambda: talking.ended)
    assert talking.ended[0].startswith("Connection")


def test_stop_ends_the_answer_and_those_that_wait_and_one_is_written_at_a_time(server, talking):
    found = []
    threads = [threading.Thread(target=lambda: found.append(request(server))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert talking.started.wait(10)
    until(lambda: threading.active_count() > 6)
    time.sleep(0.2)
    assert request(server, path="/stop", body={}).status == 204
    for thread in threads:
        thread.join(10)
    assert [lines(said)[-1] for said in found] == [{"end": {"why": "stopped"}}] * 3
    assert talking.most == 1


def test_who_waits_too_long_is_told(server, talking, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_TO_WAIT", 0.1)
    thread = threading.Thread(target=request, args=(server,))
    thread.start()
    assert talking.started.wait(10)
    said = request(server)
    assert said.status == 409
    assert "one answer at a time" in lines(said)[0]["error"]["expected"]
    request(server, path="/stop", body={})
    thread.join(10)


def test_an_unforeseen_error_is_said_and_the_turn_is_given_back(server, monkeypatch, capfd):
    def fail(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(module, "answer", fail)
    assert "ZeroDivisionError: a defect" in lines(request(server))[-1]["error"]["what"]
    monkeypatch.undo()
    assert [*lines(request(server))[-1]] == ["end"]


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url.startswith(f"http://127.0.0.1:{server.server_port}/?token=")
    assert len(server.token) >= 32


def test_a_port_that_is_taken_or_no_port_is_refused(served, server):
    for port in (server.server_port, 70000, -1):
        with pytest.raises(ConfigError, match=f"port {port} cannot be used") as caught:
            Server(served, port)
        assert "--port" in caught.value.fix


@pytest.mark.parametrize("missing", ["summary.json", "replay", "fit"])
def test_a_run_that_is_not_finished_is_refused_before_anything_is_opened(
    finished, tmp_path, missing
):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    ServedRun(folder)  # the control
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ArtifactError, match=missing):
        ServedRun(folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    for name in ("none", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main(["serve", str(tmp_path / name)]) == 2
        assert "is not a run folder" in capsys.readouterr().err


def test_models_and_saes_of_another_run_are_refused(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    path = folder / "summary.json"
    plain = json.loads(path.read_text())
    for key, error, said in (
        (("target", "hash"), ConfigError, "its weights"),
        (("target", "saes", "hash"), SaeError, "are not those"),
    ):
        changed = json.loads(json.dumps(plain))
        holder = changed
        for name in key[:-1]:
            holder = holder[name]
        holder[key[-1]] = "0" * 64
        path.write_text(json.dumps(changed))
        with pytest.raises(error, match=said):
            ServedRun(folder, "cpu").side("target", lambda line: None)
    path.write_text(json.dumps(plain))
    heard = []
    ServedRun(folder, "cpu").side("target", heard.append)
    assert heard[0].startswith("opening micro-mixtral")
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path / "none"))
    with pytest.raises(SaeError, match="no longer in the cache"):
        ServedRun(folder, "cpu").side("target", lambda line: None)


def test_ctrl_c_ends_the_command_cleanly(finished):
    command = [sys.executable, "-m", "conceptbasis", "serve", str(finished.folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ}, **pipes) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert said.splitlines()[-1] == "closed"
    assert "Traceback" not in said


def test_the_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    for word in ("slider", "127.0.0.1", "Ctrl-C", "--port", "ssh -L"):
        assert word in shown
