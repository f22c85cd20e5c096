"""A model hub on loopback: as much of it as downloads need, and ways to misbehave.

Like the real one it answers for large files with a redirect to another host (here: localhost
instead of 127.0.0.1), whose headers carry the sha256 and the size; small files come from the hub
itself with git's hash of them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

SMALL = (".yaml", ".md", "LICENSE")


@dataclass(frozen=True)
class Request:
    """One request: HEAD or GET, a file's name, which host, which byte it began at."""

    method: str
    name: str
    from_cdn: bool
    start: int
    has_token: bool


@dataclass
class HubServer:
    """What the hub holds, what it was asked, and how it fails.

    Attributes:
        repos: "owner/name" (its main) or "owner/name@revision" -> file name -> content.
        gated: repositories that refuse.
        instead: file name -> content sent in place of the announced one, of the same length.
        cut_after: file name -> number of bytes after which the connection is dropped.
        on_get: called with the file's name before content is sent.
        is_hub: False: every page is found and none has a hub's headers.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    instead: dict[str, bytes] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    on_get: Callable[[str], None] = lambda name: None
    is_hub: bool = True
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def commit(self, repo: str) -> str:
        """The commit of a key of repos: another one when any content is."""
        tree = sorted((name, etag_of(name, content)) for name, content in self.repos[repo].items())
        return hashlib.sha1(repr(tree).encode()).hexdigest()

    def find(self, repo: str, revision: str) -> str | None:
        """The key of repos that a branch, tag or commit stands for."""
        for key in self.repos:
            name, _, tag = key.partition("@")
            if name == repo and revision in (tag or "main", self.commit(key)):
                return key
        return None

    def asked(self, method: str) -> list[str]:
        """Files asked about (HEAD) or downloaded (GET), in order, wherever they lie."""
        here = [r for r in self.requests if r.method == method and r.name]
        return [r.name for r in here if (r.from_cdn or r.name.endswith(SMALL)) == (method == "GET")]

    def starts(self, name: str) -> list[int]:
        """First bytes of the downloads of a large file, in order."""
        return [
            r.start for r in self.requests if (r.method, r.name, r.from_cdn) == ("GET", name, True)
        ]


@cache
def etag_of(name: str, content: bytes) -> str:
    if name.endswith(SMALL):
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return hashlib.sha256(content).hexdigest()


def _described(name: str, content: bytes) -> dict[str, Any]:
    about: dict[str, Any] = {"type": "file", "path": name, "size": len(content)}
    about["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if not name.endswith(SMALL):
        etag = etag_of(name, content)
        about["lfs"] = {"oid": etag, "sha256": etag, "size": len(content), "pointerSize": 130}
    return about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        from_cdn = self.path.startswith("/cdn/")
        path = unquote(self.path).removeprefix("/cdn")
        repo, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        token = "Authorization" in self.headers
        self.hub.requests.append(Request(self.command, name, from_cdn, start, token))
        if not self.hub.is_hub:
            self._send(200, {}, b"<html>Log in to the guest network</html>")
        elif path.startswith("/api/models/"):
            self._answer_api(*path.partition("?")[0].removeprefix("/api/models/").split("/"))
        elif repo in self.hub.gated:
            self._send(403, {"X-Error-Code": "GatedRepo"})
        elif repo not in self.hub.repos:
            self._send(404, {"X-Error-Code": "RepoNotFound"})
        elif (key := self.hub.find(repo, revision)) is None:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        elif name not in self.hub.repos[key]:
            self._send(404, {"X-Error-Code": "EntryNotFound"})
        elif from_cdn or name.endswith(SMALL):
            self._send_file(key, name, start)
        else:
            self._redirect(key, name)

    def _answer_api(self, owner: str, name: str, what: str = "", revision: str = "main") -> None:
        repo = f"{owner}/{name}"
        if repo in self.hub.gated:
            self._send(403, {"X-Error-Code": "GatedRepo"})
        elif not any(key.partition("@")[0] == repo for key in self.hub.repos):
            self._send(404, {"X-Error-Code": "RepoNotFound"})
        elif (key := self.hub.find(repo, revision)) is None:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            files = [_described(n, content) for n, content in self.hub.repos[key].items()]
            siblings = [{"rfilename": f["path"], **f} for f in files]
            about = {"id": repo, "sha": self.hub.commit(key), "siblings": siblings}
            body = json.dumps(files if what == "tree" else about).encode()
            self._send(200, {"Content-Type": "application/json"}, body)

    def _redirect(self, key: str, name: str) -> None:
        content = self.hub.repos[key][name]
        path = self.path.lstrip("/")
        headers = {
            "Location": f"http://localhost:{self.hub.port}/cdn/{path}",
            "X-Repo-Commit": self.hub.commit(key),
            "X-Linked-Etag": f'"{etag_of(name, content)}"',
            "X-Linked-Size": str(len(content)),
        }
        self._send(302, headers)

    def _send_file(self, key: str, name: str, start: int) -> None:
        content = self.hub.repos[key][name]
        headers = {
            "ETag": f'"{etag_of(name, content)}"',
            "X-Repo-Commit": self.hub.commit(key),
            "Accept-Ranges": "bytes",
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET":
            self.hub.on_get(name)
        body = self.hub.instead.get(name, content)[start:]
        self._send(206 if start else 200, headers, body, self.hub.cut_after.get(name))

    def _send(
        self, status: int, headers: dict[str, str], body: bytes = b"", cut_after: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut_after])
            if cut_after is not None:
                self.close_connection = True


@contextmanager
def serving() -> Iterator[HubServer]:
    """Run a hub without repositories."""
    hub = HubServer()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_hub(patch: pytest.MonkeyPatch, url: str, home: Path, offline: bool = False) -> None:
    """Do for this process what HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE do for a new one."""
    patch.setenv("NO_PROXY", "127.0.0.1,localhost")
    patch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(constants, "HF_HUB_OFFLINE", offline)


def read_folder(folder: Path) -> dict[str, bytes]:
    """A folder as a repository."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
