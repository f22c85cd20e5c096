"""What replay_node plays: messages ready to publish, each with its instant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosReliability
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import CameraModel, Frame, Recording, Window
from dino_foresight_ros.recordings.bag_index import (
    STAMP_BYTES,
    header_stamp_ns,
    with_header_stamp,
)
from dino_foresight_ros.recordings.bag_messages import compressed_format
from dino_foresight_ros.recordings.bag_reader import BagReader, BagTopic
from dino_foresight_ros.recordings.bag_topics import (
    CAMERA_INFO_TYPE,
    IMAGE_TYPES,
    camera_info_topic,
)
from dino_foresight_ros.recordings.image_decoding import encode_picture
from dino_foresight_ros.ros.camera_info import camera_info_msg
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.message_types import message_class
from dino_foresight_ros.ros.qos import output_qos
from dino_foresight_ros.ros.time import ns_to_time
from dino_foresight_ros.topic_names import frame_name

DEFAULT_FRAME_ID = "camera_optical_frame"
_CLOCK_TYPE = "rosgraph_msgs/msg/Clock"
_MIN_DEPTH = 10


class Item(NamedTuple):
    """Something due at media time `time_ns`; `is_image` for the frames that are counted."""

    time_ns: int
    publish: Callable[[], None]
    is_image: bool


class Track(Protocol):
    """A round of items, again from the start at each call."""

    description: str
    image_publishers: list[Publisher]

    def items(self) -> Iterator[Item]:
        """Yield what to publish, in order."""

    def close(self) -> None:
        """Release the input."""


@dataclass(frozen=True)
class FrameOptions:
    """How decoded frames become messages."""

    compressed: bool = False
    frame_id: str = ""
    fov_deg: float = 0.0


class FrameTrack:
    """Decoded frames of any recording on `image`, with `camera_info` where it is known.

    Attributes:
        camera: the calibration, recorded or assumed; None where it is not known.
    """

    def __init__(self, node: Node, recording: Recording, options: FrameOptions) -> None:
        self._recording = recording
        self._options = options
        self.camera = _camera(recording, options)
        self._origin_ns = 0 if recording.has_absolute_stamps else None
        kind = CompressedImage if options.compressed else Image
        self._image = node.create_publisher(kind, "image", output_qos())
        self._info = node.create_publisher(CameraInfo, "camera_info", output_qos())
        self.image_publishers = [self._image]
        count = "" if recording.frame_count is None else f"{recording.frame_count} frames, "
        rate = "" if recording.frame_rate_hz is None else f" at {recording.frame_rate_hz:.4g} Hz"
        height, width = recording.size
        self.description = (
            f"{recording.name}: {count}{width}x{height}{rate} on {self._image.topic_name}"
        )

    def items(self) -> Iterator[Item]:
        """Yield one item for each frame."""
        if self._origin_ns is None:
            # Live tools look at the wall clock, so an input without one of its own gets today's.
            # Set once: the stamps of later rounds repeat.
            self._origin_ns = time.time_ns()
        for frame in self._recording.frames():
            stamp_ns = self._origin_ns + frame.stamp_ns
            yield Item(stamp_ns, self._publishing(frame, stamp_ns), is_image=True)

    def _publishing(self, frame: Frame, stamp_ns: int) -> Callable[[], None]:
        frame_id = frame_name(self._options.frame_id) or frame.frame_id or DEFAULT_FRAME_ID
        header = Header(stamp=ns_to_time(stamp_ns), frame_id=frame_id)
        image = self._image_msg(frame, header)
        info = None if self.camera is None else camera_info_msg(self.camera, header)

        def publish() -> None:
            # First the info, so that it is there when somebody gets the image.
            if info is not None:
                self._info.publish(info)
            self._image.publish(image)

        return publish

    def _image_msg(self, frame: Frame, header: Header) -> Image | CompressedImage:
        if not self._options.compressed:
            return image_to_msg(frame.image, "rgb8", header)
        data = encode_picture(frame.image, "jpeg").tobytes()
        return CompressedImage(header=header, format=compressed_format("jpeg"), data=data)

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()


def _camera(recording: Recording, options: FrameOptions) -> CameraModel | None:
    if options.fov_deg > 0.0:
        height, width = recording.size
        return CameraModel.from_fov(width, height, options.fov_deg)
    return recording.camera


class RecordedTrack:
    """Messages of a bag as they were recorded: names, types, QoS and bytes.

    Only images and camera_info without a time in their headers get the time of recording there.
    """

    def __init__(
        self,
        node: Node,
        reader: BagReader,
        window: Window,
        topics: list[BagTopic],
        has_clock: bool,
    ) -> None:
        self._node = node
        self._reader = reader
        start_ns = reader.start_ns
        self._span_ns = (start_ns + window.start_ns, start_ns + window.end_ns)
        self._publishers: dict[str, Publisher] = {}
        self._latched: set[str] = set()
        self._images: set[str] = set()
        self._cameras: set[str] = set()
        self._stamped: set[str] = set()
        self._create_publishers([t for t in topics if not (has_clock and t.msgtype == _CLOCK_TYPE)])
        self.image_publishers = [self._publishers[name] for name in sorted(self._images)]
        names = ", ".join(sorted(self._publishers))
        self.description = f"{reader.path.name}: as recorded, {names}"

    def _create_publishers(self, topics: list[BagTopic]) -> None:
        unknown = []
        for topic in topics:
            kind = message_class(topic.msgtype)
            if kind is None:
                unknown.append(f"{topic.name} ({topic.msgtype})")
                continue
            qos = recorded_qos(topic)
            self._publishers[topic.name] = self._node.create_publisher(kind, topic.name, qos)
            if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
                self._latched.add(topic.name)
            if topic.msgtype in IMAGE_TYPES:
                self._images.add(topic.name)
            if topic.msgtype in (*IMAGE_TYPES, CAMERA_INFO_TYPE):
                self._cameras.add(topic.name)
        if unknown:
            self._node.get_logger().warning(
                f"skipped, because their message types are not installed: {', '.join(unknown)}"
            )
        if not self._publishers:
            raise InputError(f"{self._reader.path}: none of its topics can be played")

    def items(self) -> Iterator[Item]:
        """Yield every message; latched ones from before the start come first."""
        start_ns, end_ns = self._span_ns
        if self._latched:
            for message in self._reader.messages(self._latched, 0, start_ns):
                yield self._item(start_ns, message.topic, message.data)
        empty = True
        for message in self._reader.messages(self._publishers, start_ns, end_ns):
            empty = False
            yield self._item(message.log_time_ns, message.topic, message.data)
        if empty:
            raise InputError(f"{self._reader.path}: no message between start_s and end_s")
        if self._reader.damage:
            self._node.get_logger().warning(
                f"{self._reader.path.name} is incomplete: {self._reader.damage}"
            )

    def _item(self, time_ns: int, topic: str, data: bytes) -> Item:
        publisher = self._publishers[topic]
        if topic in self._cameras and len(data) >= STAMP_BYTES and not header_stamp_ns(data):
            if topic not in self._stamped:
                self._stamped.add(topic)
                self._node.get_logger().warning(
                    f"{topic} has no time in its headers; time of recording taken"
                )
            data = with_header_stamp(data, time_ns)
        return Item(time_ns, lambda: publisher.publish(data), topic in self._images)

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()


def choose_recorded(
    path: Path, reader: BagReader, topic: str, topics: list[str], every: bool
) -> list[BagTopic]:
    """Choose the topics to play as recorded.

    All of them with `every`; else those named; else the image topics (or the one named by
    `topic`) with their camera_info.
    """
    known = reader.topics
    listed = ", ".join(sorted(known)) or "none"
    if every:
        return list(known.values())
    if topics or topic:
        wanted = [f"/{name.strip('/')}" for name in (topics or [topic])]
        missing = [name for name in wanted if name not in known]
        if missing:
            raise InputError(f"{path} has no topic {', '.join(missing)}; its topics: {listed}")
        if topics:
            return [known[name] for name in wanted]
    else:
        wanted = [t.name for t in known.values() if t.msgtype in IMAGE_TYPES]
        wanted += [t.name for t in known.values() if t.msgtype == CAMERA_INFO_TYPE]
    if not any(known[name].msgtype in IMAGE_TYPES for name in wanted):
        raise InputError(f"{path} holds no image topic; its topics: {listed}")
    info = camera_info_topic(topic, known) if topic else None
    return [known[name] for name in dict.fromkeys([*wanted, *([info] if info else [])])]


def recorded_qos(topic: BagTopic) -> QoSProfile:
    """Offer what the recorded publishers offered: latched if one was, reliable unless none was."""

    def some(test: Callable[[Qos], bool]) -> bool:
        return any(test(profile) for profile in topic.qos)

    latched = some(lambda qos: qos.durability == QosDurability.TRANSIENT_LOCAL)
    best_effort = bool(topic.qos) and all(
        qos.reliability == QosReliability.BEST_EFFORT for qos in topic.qos
    )
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max([_MIN_DEPTH, *(min(qos.depth, 1000) for qos in topic.qos)]),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def require_bag(path: Path, is_bag: bool) -> None:
    """Refuse to play anything but a bag as recorded."""
    if not is_bag:
        raise UsageError(f"{path} is not a rosbag2, so it cannot be played as recorded")
