"""A real browser without a window: loads a page, tells what it asked for, and takes screenshots.

As a program: python chromium.py URL OUT.png [SECONDS] writes what the page looks like by then;
OUT.jpg is smaller.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZE = (1600, 1000)
ANSWER_LIMIT_S = 120.0
# WebGL by software, as on a machine without a display.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_browser() -> str | None:
    """Path of a Chromium, named by FORESIGHT_CHROMIUM or on the path; None where there is none."""
    named = os.environ.get("FORESIGHT_CHROMIUM")
    return named or next(filter(None, map(shutil.which, PROGRAMS)), None)


class Page:
    """One page in a browser of its own, driven by the DevTools protocol over a pipe.

    Attributes:
        requests: every address that the page asked for, in order.
        errors: what its console said at level error, and exceptions.
        received_bytes: by address, what has come so far.
    """

    def __init__(self, program: str, size: tuple[int, int] = SIZE) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.received_bytes: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._profile = tempfile.TemporaryDirectory(
            prefix="foresight-chromium-",
            ignore_cleanup_errors=True,  # helpers of a killed browser write for a moment more
        )
        self._process, self._to, self._from = _start(program, size, self._profile.name)
        self._rest, self._count = b"", 0
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        dark = {"name": "prefers-color-scheme", "value": "dark"}
        self.call("Emulation.setEmulatedMedia", features=[dark])

    _session: str | None = None
    _is_loaded = False

    def open(self, url: str) -> None:
        """Go to an address; returns when its page and scripts are loaded."""
        self._is_loaded = False
        answer = self.call("Page.navigate", url=url)
        assert not answer.get("errorText"), answer
        deadline_s = time.monotonic() + ANSWER_LIMIT_S
        while not self._is_loaded:
            assert time.monotonic() < deadline_s, f"{url} did not load: {self.errors}"
            self._note(self._read())

    def screenshot(self, **options: Any) -> bytes:
        """What the page looks like now, as PNG unless the options say otherwise."""
        options = {"format": "png", **options}
        return base64.b64decode(self.call("Page.captureScreenshot", **options)["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol to the page, and its result."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        command: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        deadline_s = time.monotonic() + ANSWER_LIMIT_S
        while time.monotonic() < deadline_s:
            message = self._read()
            if message.get("id") == self._count:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)
        raise TimeoutError(f"the browser gave no answer to {method}")

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            block = os.read(self._from, 1 << 20)
            if not block:
                raise RuntimeError(f"the browser ended with {self._process.wait(10)}")
            self._rest += block
        text, self._rest = self._rest.split(b"\0", 1)
        return json.loads(text)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._is_loaded = True
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                self._addresses[parameters["requestId"]] = url
                self.requests.append(url)
            case "Network.dataReceived":
                url = self._addresses.get(parameters["requestId"], "")
                count = parameters["dataLength"]
                self.received_bytes[url] = self.received_bytes.get(url, 0) + count
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.errors.append(parameters["entry"]["text"])

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()


def _start(
    program: str, size: tuple[int, int], profile: str
) -> tuple[subprocess.Popen[bytes], int, int]:
    """(process, where to write commands, where to read answers)."""
    commands_read, commands_write = os.pipe()
    answers_read, answers_write = os.pipe()
    window = f"--window-size={size[0]},{size[1]}"
    arguments = [program, *OPTIONS, window, f"--user-data-dir={profile}", "about:blank"]
    # The browser reads commands from descriptor 3 and writes answers to 4.
    shell = f'exec "$@" 3<&{commands_read} 4>&{answers_write}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *arguments],
        pass_fds=(commands_read, answers_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_read)
    os.close(answers_write)
    return process, commands_write, answers_read


def main() -> int:
    """Write a screenshot."""
    url, out = sys.argv[1], Path(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 30.0
    program = find_browser()
    if program is None:
        print(f"no browser: none of {', '.join(PROGRAMS)} is on the path", file=sys.stderr)
        return 1
    with Page(program) as page:
        page.open(url)
        time.sleep(seconds)
        is_jpeg = out.suffix == ".jpg"
        options = {"format": "jpeg", "quality": 85} if is_jpeg else {}
        out.write_bytes(page.screenshot(**options))
        for line in page.errors:
            print(line, file=sys.stderr)
        if "-v" in sys.argv:
            for url in page.requests:
                print(url, page.received_bytes.get(url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
