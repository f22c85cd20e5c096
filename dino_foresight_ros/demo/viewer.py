"""The demo in a browser: a view_node that runs beside the demo's nodes and outlives them.

For its plot of skill a monitor_node runs as well.
"""

from __future__ import annotations

import os
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from dino_foresight_ros.closeable import Closeable
from dino_foresight_ros.demo.dds import choose_domain, frame_transport, private_environment
from dino_foresight_ros.demo.processes import (
    LogLine,
    NodeFailedError,
    NodeProcess,
    ParameterValue,
    node_command,
)

START_LIMIT_S = 60.0
_POLL_S = 0.1
# Large enough for any camera's frame; what the demo plays is not known yet.
_FRAME_BYTES = 8 * 2**20


class DemoViewer(Closeable):
    """Shows what happens in one ROS domain of this machine, for as long as the `with` block.

    Attributes:
        domain_id: the domain that the demo's nodes have to join.
        url: where to look.
    """

    def __init__(self, port: int, domain_id: int | None = None, *, with_skill: bool = True) -> None:
        """Prepare it.

        Args:
            port: of the page; the next one is taken, too.
            domain_id: the ROS domain; None looks for one that nobody uses.
            with_skill: whether to measure the skill of the only, unnamed camera.
        """
        self.domain_id = choose_domain() if domain_id is None else domain_id
        self.url = f"http://127.0.0.1:{port}/"
        self._port, self._with_skill = port, with_skill
        self._closing = ExitStack()
        self._node: NodeProcess | None = None

    def __enter__(self) -> DemoViewer:
        """Start it, and return when there is a page.

        Raises:
            ForesightError: it does not start; in one line why.
        """
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def close(self) -> None:
        """End it."""
        self._closing.close()

    def keep(self) -> None:
        """Wait for Ctrl-C.

        Raises:
            ForesightError: the viewer ended by itself.
        """
        try:
            while True:
                self._check()
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            return

    def _start(self) -> None:
        scratch = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="foresight-view-"))
        environment = private_environment(os.environ, self.domain_id, scratch)
        environment |= frame_transport(_FRAME_BYTES, Path(scratch))

        def start(name: str, parameters: dict[str, ParameterValue]) -> NodeProcess:
            command, log = node_command(name, parameters), Path(scratch, f"{name}.log")
            node = NodeProcess(name, command, log, environment)
            self._closing.callback(node.stop)
            return node

        self._node = start("view_node", {"port": self._port, "open_browser": True})
        if self._with_skill:
            start("monitor_node", {})
        deadline_s = time.monotonic() + START_LIMIT_S
        while not self._answers():
            self._check()
            if time.monotonic() > deadline_s:
                raise NodeFailedError(f"the page was not there after {START_LIMIT_S:.0f} s")
            time.sleep(_POLL_S)

    def _check(self) -> None:
        if self._node is not None and self._node.exit_code is not None:
            # The last lines may still be on their way to the file.
            time.sleep(_POLL_S)
            raise self._node.ended()

    def _answers(self) -> bool:
        # Not what another program serves at this port: that one's lack of it is told by the node.
        if "the page is at" not in " ".join(line.text for line in self._log()):
            return False
        try:
            with urllib.request.urlopen(self.url, timeout=5.0):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _log(self) -> list[LogLine]:
        return [] if self._node is None else self._node.log()
