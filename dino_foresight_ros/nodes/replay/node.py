"""Plays a video, a folder of pictures or a rosbag2 as ROS topics, in time.

Exits with 0 at the end of the input, 1 when the input cannot be used, 2 for bad parameters.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock

from dino_foresight_ros.errors import describe
from dino_foresight_ros.nodes.replay.parameters import REPLAY_PARAMETERS
from dino_foresight_ros.nodes.replay.player import Player
from dino_foresight_ros.nodes.replay.tracks import (
    FrameOptions,
    FrameTrack,
    Item,
    RecordedTrack,
    Track,
    choose_recorded,
    require_bag,
)
from dino_foresight_ros.recordings import Window, open_recording
from dino_foresight_ros.recordings.file_kinds import check_exists, is_bag
from dino_foresight_ros.ros.node_main import finish, run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import output_qos
from dino_foresight_ros.ros.rivals import warn_of_rivals
from dino_foresight_ros.ros.time import ns_to_time

# Discovery is not symmetric: the subscriber may know of the publisher a little later.
_SETTLE_S = 0.3
_POLL_S = 0.05
_DELIVERY_S = 2.0


class ReplayNode(Node):
    """Publishes a track at its own pace from a thread of its own."""

    def __init__(self) -> None:
        super().__init__("replay_node")
        self._settings = Parameters(self, REPLAY_PARAMETERS, lambda: False)
        self._stop = threading.Event()
        self._player = Player(
            self._settings["rate"], self._stop.wait, self._publish_clock, self.get_logger().warning
        )
        self._track = self._open()
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", output_qos(10))
            if self._settings["publish_clock"]
            else None
        )
        every = [*self._track.image_publishers, self._clock_publisher]
        warn_of_rivals(self, lambda: [p.topic_name for p in every if p is not None])
        self._thread = threading.Thread(target=self._run, name="foresight-replay", daemon=True)
        self._thread.start()

    def _open(self) -> Track:
        settings = self._settings
        path = Path(settings["input"]).expanduser()
        end_s = settings["end_s"] or None
        window = Window(settings["start_s"], end_s)
        topics = [name for name in settings["topics"] if name]
        check_exists(path)
        if settings["as_recorded"] or settings["all_topics"] or topics:
            require_bag(path, is_bag(path))
            return self._open_recorded(path, window, topics)
        recording = open_recording(
            path,
            topic=settings["topic"] or None,
            start_s=window.start_s,
            end_s=end_s,
            frame_rate_hz=settings["frame_rate_hz"] or None,
            on_warning=self.get_logger().warning,
        )
        options = FrameOptions(
            compressed=settings["image_transport"] == "compressed",
            frame_id=settings["frame_id"],
            fov_deg=settings["fov_deg"],
        )
        track = FrameTrack(self, recording, options)
        if track.camera is None:
            self.get_logger().info(
                f"{recording.name} has no calibration: no camera_info is published, and there is "
                "no 3D of it; fov_deg:=70.0 assumes a horizontal field of view"
            )
        elif options.fov_deg:
            self.get_logger().info(
                f"camera_info assumes a horizontal field of view of {options.fov_deg:g} degrees"
            )
        return track

    def _open_recorded(self, path: Path, window: Window, topics: list[str]) -> Track:
        from dino_foresight_ros.recordings.bag_reader import BagReader

        reader = BagReader(path)
        settings = self._settings
        chosen = choose_recorded(path, reader, settings["topic"], topics, settings["all_topics"])
        return RecordedTrack(self, reader, window, chosen, settings["publish_clock"])

    def _run(self) -> None:
        """Play to the end, in the replay thread."""
        try:
            self._wait_for_subscriber()
            if not self._stop.is_set():
                self.get_logger().info(f"playing {self._track.description}")
                with closing(self._track):
                    self._player.play(self._rounds())
        except Exception as error:  # noqa: BLE001 - the last resort
            self._end(1, describe(error))
        else:
            self._end(0, f"end of input after {self._player.images} images")

    def _end(self, exit_code: int, text: str) -> None:
        if self._stop.is_set():
            return
        log = self.get_logger()
        if exit_code:
            log.error(text)
        else:
            log.info(text)
            self._wait_for_delivery()
        finish(exit_code)

    def _wait_for_subscriber(self) -> None:
        limit_s = self._settings["wait_for_subscriber_s"]
        publishers = self._track.image_publishers
        if limit_s <= 0.0 or not publishers:
            return
        names = ", ".join(publisher.topic_name for publisher in publishers)
        awaited = self._settings["wait_for_node"]
        if awaited:
            awaited = self._full_name(awaited)
        deadline_s = time.monotonic() + limit_s
        self.get_logger().info(f"waiting for {awaited or 'a subscriber'} of {names}")
        while not any(self._is_heard(publisher, awaited) for publisher in publishers):
            if time.monotonic() >= deadline_s:
                who = awaited or "nobody"
                how = "did not subscribe" if awaited else "subscribed"
                self.get_logger().warning(f"{who} {how} to {names} in {limit_s:g} s")
                return
            if self._stop.wait(_POLL_S):
                return
        self._stop.wait(_SETTLE_S)

    def _full_name(self, node: str) -> str:
        """A node's full name; what is no full name is in this node's namespace."""
        return node if node.startswith("/") else f"{self.get_namespace().rstrip('/')}/{node}"

    def _is_heard(self, publisher: Publisher, by: str) -> bool:
        """Whether a node, by its full name, or anybody listens."""
        if not publisher.get_subscription_count():
            return False
        return not by or any(
            f"{info.node_namespace.rstrip('/')}/{info.node_name}" == by
            for info in self.get_subscriptions_info_by_topic(publisher.topic_name)
        )

    def _wait_for_delivery(self) -> None:
        """Let reliable subscribers fetch the last messages before the publishers go."""
        deadline_s = time.monotonic() + _DELIVERY_S
        for publisher in self._track.image_publishers:
            left_s = max(0.0, deadline_s - time.monotonic())
            publisher.wait_for_all_acked(Duration(seconds=left_s))

    def _rounds(self) -> Iterator[Iterable[Item]]:
        while not self._stop.is_set():
            yield self._track.items()
            if not self._settings["loop"]:
                return

    def _publish_clock(self, time_ns: int) -> None:
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=ns_to_time(time_ns)))

    def destroy_node(self) -> None:
        """End the replay thread and take the node down."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        super().destroy_node()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until the input ends or a signal comes; return the exit code."""
    summary = "Publishes a video, a folder of pictures or a rosbag2 as ROS topics, in time."
    return run_node(ReplayNode, args, usage("replay_node", summary, REPLAY_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
