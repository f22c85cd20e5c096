"""view_node: shows a running forecast_node in a browser, and records it.

In: of every camera that is forecast, its images and camera_info, foresight/forecast,
foresight/labels, foresight/skill and, where plan_node runs, foresight/imagined/image_color;
/diagnostics.
Out: a page on this machine, and files. `foresight view` is this node without its parameters'
syntax.
"""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.nodes.view.camera_display import CameraDisplay
from dino_foresight_ros.nodes.view.parameters import MCAP, RRD, VIEW_PARAMETERS
from dino_foresight_ros.nodes.view.topic_recorder import TopicRecorder
from dino_foresight_ros.ros.forecast_sources import ForecastSource, find_sources
from dino_foresight_ros.ros.node_main import run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import output_qos
from dino_foresight_ros.ros.timers import steady_timer
from dino_foresight_ros.topic_names import camera_info_beside
from dino_foresight_ros.view.rerun_stream import RerunStream
from dino_foresight_ros.view.scene_log import SceneLog
from dino_foresight_ros.view.server import ViewerServer, check_port
from dino_foresight_ros.view.web_page import Page

NODE_NAME = "view_node"
FOLLOW_PERIOD_S = 0.5
FIRST_HINT_S, HINT_PERIOD_S = 10.0, 60.0
_LOCAL = ("127.0.0.1", "localhost")


class ViewNode(Node):
    """Follows the graph: a camera is shown from when a node begins to forecast it."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        self._closing = ExitStack()
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise

    def _start(self) -> None:
        parameters = self.parameters = Parameters(self, VIEW_PARAMETERS, lambda: False)
        self._cameras: dict[str, CameraDisplay] = {}
        self._server: ViewerServer | None = None
        self._recording: RerunStream | None = None
        self._recorders: list[TopicRecorder] = []
        self._hint_due_s = time.monotonic() + FIRST_HINT_S
        files = [Path(name).expanduser().absolute() for name in parameters["record"]]
        if not parameters["serve"] and not files:
            raise UsageError("nothing to do: there is neither a page nor a file to record to")
        for path in files:
            if path.suffix == MCAP:
                recorder = TopicRecorder(self, path, parameters["force"])
                self._closing.callback(self._close_recorder, recorder)
                self._recorders.append(recorder)
        self._start_viewer([path for path in files if path.suffix == RRD])
        self.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, output_qos(20)
        )
        steady_timer(self, FOLLOW_PERIOD_S, self._follow)

    def _start_viewer(self, files: Sequence[Path]) -> None:
        if len(files) > 1:
            raise UsageError(f"one {RRD} file can be recorded at a time, not {len(files)}")
        serve, path = self.parameters["serve"], files[0] if files else None
        if not serve and path is None:
            return
        page = self._serve() if serve else None
        data_url = None if self._server is None else self._server.data_url
        self._recording = RerunStream(data_url, path, self.parameters["force"])
        self._closing.callback(self._close_recording, self._recording, path)
        if page is not None:
            self.get_logger().info(f"the page is at {page.url}")
            if self.parameters["open_browser"] and _has_display():
                webbrowser.open(page.url)

    def _serve(self) -> Page:
        address, port = self.parameters["bind"], self.parameters["port"]
        # Of the two, the one that users know is named first.
        check_port(address, port)
        origins = [] if address in _LOCAL else [f"http://*:{port}"]
        limit = self.parameters["memory_limit"]
        self._server = ViewerServer(address, port + 1, limit, origins)
        self._closing.callback(self._server.close)
        page = Page(address, port, self._server.files_url, port + 1)
        self._closing.callback(page.close)
        return page

    def _follow(self) -> None:
        if self._server is not None:
            self._server.check()
        for source in self._sources():
            if source.folder not in self._cameras and self._recording is not None:
                self._add(source, self._recording)
        for camera in self._cameras.values():
            camera.follow()
        for recorder in self._recorders:
            recorder.follow(self._followed)
        self._hint()

    def _sources(self) -> list[ForecastSource]:
        """Cameras that are forecast now, or the one that parameters name."""
        image = self.parameters["image_topic"]
        sources = [self._named(image)] if image else find_sources(self)
        self._followed = sources
        return sources

    _followed: Sequence[ForecastSource] = ()

    def _named(self, image: str) -> ForecastSource:
        info = self.parameters["camera_info_topic"] or camera_info_beside(image)
        folder = self.resolve_topic_name(self.parameters["outputs"])
        return ForecastSource(
            name="",
            folder=folder,
            image=self.resolve_topic_name(image),
            camera_info=self.resolve_topic_name(info),
            is_compressed=self.parameters["image_transport"] == "compressed",
            node="",
        )

    def _add(self, source: ForecastSource, recording: RerunStream) -> None:
        # A second camera without a name, of another node, is told apart by its topics' folder.
        name = source.name or ("" if not self._cameras else source.folder)
        root = f"/{name.strip('/').replace('/', '_')}" if name else ""
        scene = SceneLog(recording.stream, root, self.parameters["max_width"])
        is_first = source.is_first_beside(c.source for c in self._cameras.values())
        camera = CameraDisplay(self, source, scene, self.parameters, self._lay_out, is_first)
        self._cameras[source.folder] = camera
        self.get_logger().info(f"showing {source.image} and {source.folder}/forecast")

    def _lay_out(self) -> None:
        if self._recording is not None:
            shown = [c.shown for c in self._cameras.values() if c.last_heard_s is not None]
            self._recording.lay_out(shown)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, what = status.name.partition(": ")
            for camera in self._cameras.values():
                if what == "forecast" and camera.source.node in ("", f"/{name}"):
                    camera.on_status(status)

    def _hint(self) -> None:
        """Now and then, while nothing comes: what is missing."""
        now_s = time.monotonic()
        heard = any(camera.last_heard_s is not None for camera in self._cameras.values())
        recorded = any(recorder.message_count for recorder in self._recorders)
        if heard or recorded or now_s < self._hint_due_s:
            return
        self._hint_due_s = now_s + HINT_PERIOD_S
        if self._followed:
            topics = ", ".join(f"{source.folder}/forecast" for source in self._followed)
            self.get_logger().info(f"waiting for forecasts on {topics}")
        else:
            self.get_logger().info(
                f"waiting for a node that forecasts a camera, in ROS domain "
                f"{os.environ.get('ROS_DOMAIN_ID', '0')}; forecasts that are only played are shown "
                "with image_topic set"
            )

    def _close_recording(self, recording: RerunStream, path: Path | None) -> None:
        recording.close()
        if path is not None:
            self.get_logger().info(f"recorded {path}")

    def _close_recorder(self, recorder: TopicRecorder) -> None:
        recorder.close()
        self.get_logger().info(f"recorded {recorder.path}: {recorder.message_count} messages")

    def destroy_node(self) -> None:
        """Finish the files and end the page, then go."""
        try:
            self._closing.close()
        finally:
            super().destroy_node()


def _has_display() -> bool:
    """Whether a browser would open a window, and not take over the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    summary = "Shows a running forecast_node in a browser, and records it."
    return run_node(ViewNode, args, usage(NODE_NAME, summary, VIEW_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
