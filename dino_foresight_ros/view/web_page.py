"""The web page: rerun's viewer at a plain address, which talks to its own server alone.

rerun's page takes fonts from Google, asks GitHub for newer versions and sends usage statistics.
Here its files go through a server that tells the browser to allow none of that (by a Content
Security Policy), so that the page is the same on a machine without network.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dino_foresight_ros.view.server import port_error

_LIMIT_S = 30.0
_HEADERS = ("Content-Type", "Content-Length", "rerun-final-length")


class Page:
    """Serves the viewer's files, and leads whoever opens the address to the data.

    Attributes:
        url: the address to open.
    """

    def __init__(self, address: str, port: int, files_url: str, data_port: int) -> None:
        """Serve from now on, in threads.

        Args:
            address, port: where to listen.
            files_url: where rerun serves its own page.
            data_port: where the data is, on the same machine.

        Raises:
            InputError: the port is in use.
        """
        try:
            self._server = _Server((address, port), _Handler)
        except OSError as error:
            raise port_error(address, port, error) from error
        self._server.files_url, self._server.data_port = files_url, data_port
        host = "127.0.0.1" if address in ("", "0.0.0.0") else address
        self.url = f"http://{host}:{port}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="view-page", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    files_url = ""
    data_port = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        if parts.path == "/" and "url" not in urllib.parse.parse_qs(parts.query):
            self._lead_to_data()
            return
        try:
            # Only what rerun's own server has by this name; never another address.
            with urllib.request.urlopen(
                self.server.files_url + parts.path, timeout=_LIMIT_S
            ) as answer:
                self._pass_on(answer)
        except urllib.error.HTTPError as error:
            self.send_error(error.code)
        except urllib.error.URLError:
            self.send_error(http.HTTPStatus.BAD_GATEWAY)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _lead_to_data(self) -> None:
        data = f"rerun+http://{self._host()}:{self.server.data_port}/proxy"
        self.send_response(http.HTTPStatus.FOUND)
        self.send_header("Location", f"/?url={urllib.parse.quote(data, safe='')}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(http.HTTPStatus.OK)
        for name in _HEADERS:
            value = answer.headers.get(name)
            if value is not None:
                self.send_header(name, value)
        if answer.headers.get("Content-Length") is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.send_header("Content-Security-Policy", self._policy())
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        # The browser went away: nobody is left to tell.
        with contextlib.suppress(ConnectionError):
            shutil.copyfileobj(answer, self.wfile)

    def _host(self) -> str:
        """The name by which the browser knows this machine."""
        name = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname
        return name or "127.0.0.1"

    def _policy(self) -> str:
        data = f"http://{self._host()}:{self.server.data_port}"
        return (
            "default-src 'self'; "
            "script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
            "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
            f"worker-src 'self' blob:; connect-src 'self' data: blob: {data}"
        )
