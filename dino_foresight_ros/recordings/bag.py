"""Images of a rosbag2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_reader import BagReader, BagTopic
from dino_foresight_ros.recordings.bag_salvage import StoredMessage
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.images import ImageDecodeError, decode_message
from dino_foresight_ros.recordings.source import NS_PER_S, Frame, Source, Window

RAW_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
IMAGE_TYPES = (RAW_TYPE, COMPRESSED_TYPE)
MAX_BAD_IMAGES = 20


class BagSource(Source):
    """Decoded pictures of one image topic, with the stamps in their headers.

    `topic` is the chosen topic, `reader` the bag. The window counts from the bag's first message
    on any topic, by the time of recording, as `ros2 bag play --start-offset` does.
    """

    kind = "bag"

    def __init__(
        self,
        path: Path,
        window: Window,
        on_warning: Callable[[str], None] | None = None,
        topic: str | None = None,
    ) -> None:
        super().__init__(path.name or str(path), window, on_warning)
        self.reader = BagReader(path)
        try:
            self.topic = choose_topic(path, self.reader.topics, topic).name
            self._first()
        except BaseException:
            self.reader.close()
            raise
        self.has_absolute_stamps = True
        self.camera_info = self._camera_info()

    def _first(self) -> None:
        """Set size, count and rate; a topic without one good picture in the window is an error."""
        topic = self.reader.topics[self.topic]
        span_ns = self.reader.end_ns - self.reader.start_ns
        if topic.message_count > 1 and span_ns > 1:
            self.frame_rate_hz = (topic.message_count - 1) * NS_PER_S / span_ns
        if self.window == Window():
            self.frame_count = self.reader.expected_counts.get(self.topic, topic.message_count)
        length_s = span_ns / NS_PER_S
        reason = f"no message in that part of the bag, which is {length_s:.3f} s long"
        for attempts, message in enumerate(self._messages()):
            try:
                self.size = self._decode(message)[0].shape[:2]
                return
            except ImageDecodeError as error:
                reason = str(error)
            if attempts >= MAX_BAD_IMAGES:
                break
        raise InputError(f"{self.name}: no picture can be read from {self.topic}: {reason}")

    def _messages(self) -> Iterator[StoredMessage]:
        start_ns = self.reader.start_ns
        return self.reader.messages(
            [self.topic], start_ns + self.window.start_ns, start_ns + self.window.end_ns
        )

    def _decode(self, message: StoredMessage) -> tuple[Any, Any]:
        """Return the picture (H, W, 3) uint8 RGB and its header."""
        try:
            content = self.reader.deserialize(message)
        except Exception as error:  # a damaged message raises errors of every kind
            raise ImageDecodeError("the message is damaged") from error
        return decode_message(content), content.header

    def _frames(self) -> Iterator[Frame]:
        bad = seen = 0
        for message in self._messages():
            index, seen = seen, seen + 1
            try:
                image, header = self._decode(message)
            except ImageDecodeError as error:
                bad += 1
                self.warn(f"{self.name}: picture {index} of {self.topic} skipped: {error}")
                if bad > MAX_BAD_IMAGES:
                    text = f"more than {MAX_BAD_IMAGES} pictures of {self.topic} cannot be decoded"
                    raise InputError(f"{self.name}: {text}, the last: {error}") from error
                continue
            yield Frame(image, self._stamp(header, message), index, header.frame_id)
        self._check_complete(seen)

    def _stamp(self, header: Any, message: StoredMessage) -> int:
        stamp_ns = header.stamp.sec * NS_PER_S + header.stamp.nanosec
        if stamp_ns:
            return int(stamp_ns)
        self.warn(f"{self.name}: {self.topic} has no time in its headers; time of recording taken")
        return message.log_time_ns

    def _check_complete(self, seen: int) -> None:
        expected = self.reader.expected_counts.get(self.topic)
        short = self.frame_count is not None and expected is not None and seen < expected
        if self.reader.damage or short:
            self.truncated = True
            of = f" of {expected}" if expected is not None else ""
            reason = f" ({self.reader.damage})" if self.reader.damage else ""
            self.warn(f"{self.name} is truncated: {seen}{of} pictures could be read{reason}")

    def _camera_info(self) -> CameraModel | None:
        name = camera_info_topic(self.topic, self.reader.topics)
        if name is None:
            return None
        for message in self.reader.messages([name]):
            info = self.reader.deserialize(message)
            return CameraModel(
                width=int(info.width),
                height=int(info.height),
                k=tuple(float(value) for value in info.k),
                d=tuple(float(value) for value in info.d),
                distortion_model=info.distortion_model,
                frame_id=info.header.frame_id,
            )
        return None

    def close(self) -> None:
        self.reader.close()


def image_topics(topics: dict[str, BagTopic]) -> list[BagTopic]:
    """List the topics that hold at least one image message."""
    return [t for t in topics.values() if t.msgtype in IMAGE_TYPES and t.message_count > 0]


def choose_topic(path: Path, topics: dict[str, BagTopic], wanted: str | None) -> BagTopic:
    """Return the wanted image topic, or the only one."""
    images = image_topics(topics)
    if not images:
        listed = ", ".join(f"{t.name} ({t.msgtype})" for t in topics.values()) or "none at all"
        raise InputError(f"{path} holds no image topic; its topics: {listed}")
    names = ", ".join(sorted(t.name for t in images))
    if wanted:
        chosen = next((t for t in images if t.name.strip("/") == wanted.strip("/")), None)
        if chosen is None:
            raise InputError(f"{path} has no image topic {wanted}; choose one of: {names}")
        return chosen
    if len(images) > 1:
        raise InputError(f"{path} has {len(images)} image topics; set topic to one of: {names}")
    return images[0]


def camera_info_topic(image_topic: str, topics: dict[str, BagTopic]) -> str | None:
    """Return the camera_info topic beside an image topic, by the convention of image_transport.

    /camera/image_raw and /camera/image_raw/compressed both belong to /camera/camera_info.
    """
    parents = image_topic.split("/")[:-1]
    while parents:
        name = "/".join([*parents, "camera_info"])
        known = topics.get(name)
        if known is not None and known.msgtype == CAMERA_INFO_TYPE:
            return name
        if not image_topic.endswith(("/compressed", "/raw")) or len(parents) < 2:
            return None
        image_topic, parents = "", parents[:-1]
    return None
