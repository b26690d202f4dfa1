"""A hub on this machine: serves folders as repositories with revisions, gates, and tokens."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_made_up_for_tests"


@contextmanager
def serve(repositories, gated=()):
    """Serves {"owner/name": {revision: folder}}; yields the address and the requests seen.

    A gated repository gives its files only to `TOKEN`.
    """
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, headers, content = respond(self.path, token)
            seen.append((self.command, self.path, token, status))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    def respond(path, token):
        parts = path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        if name not in repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if name in gated and token != TOKEN and not api:
            words = "Access to this model is restricted."
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": words}, b""
        named = repositories[name]
        revisions = {**named, **{commit(name, revision): f for revision, f in named.items()}}
        if api and "tree" in parts[4:5]:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        if api:
            revision = parts[5] if len(parts) > 5 else "main"
            if revision not in revisions:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b""
            siblings = [{"rfilename": f.name} for f in revisions[revision].iterdir()]
            facts = {"id": name, "sha": full(name, revision, named), "siblings": siblings}
            return 200, {"Content-Type": "application/json"}, json.dumps(facts).encode()
        revision, file = parts[3], "/".join(parts[4:])
        if revision not in revisions:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        where = revisions[revision] / file
        if not where.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        content = where.read_bytes()
        etag = hashlib.sha1(content).hexdigest()
        return 200, {"X-Repo-Commit": full(name, revision, named), "ETag": f'"{etag}"'}, content

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def full(name, revision, named):
    """The commit of a revision that may be one already."""
    return commit(name, revision) if revision in named else revision


def commit(name, revision):
    """The commit that a revision stands for."""
    return hashlib.sha1(f"{name}@{revision}".encode()).hexdigest()
