"""The pictures of a rosbag2's image topics as recordings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_camera import read_mount
from dino_foresight_ros.recordings.bag_index import MessageFiles, MessageIndex
from dino_foresight_ros.recordings.bag_messages import typestore
from dino_foresight_ros.recordings.bag_odometry import read_motion
from dino_foresight_ros.recordings.bag_reader import NEW_RUN_NS, BagReader, BagTopic
from dino_foresight_ros.recordings.bag_storage import StoredMessage
from dino_foresight_ros.recordings.bag_topics import (
    choose_topic,
    image_topics,
    no_pictures,
    read_camera,
)
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.image_decoding import ImageDecodeError, ImageDecoder
from dino_foresight_ros.recordings.motion import EgoMotion
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.recording import (
    MAX_BAD_FRAMES,
    Frame,
    Recording,
    UnreadableFrame,
    Warn,
    Window,
)
from dino_foresight_ros.recordings.video_messages import (
    VideoDecoder,
    VideoMessages,
    picture_of,
    video_codec,
)
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.topic_names import frame_name

_MOST_TO_KEY_FRAME = 1000


class BagRecording(Recording):
    """Pictures of one image topic, with the stamps in their headers.

    `frames` gives them as they were recorded, even where stamps repeat or go back. The window
    counts from the bag's first message on any topic, by the time of recording, as `ros2 bag play
    --start-offset` does.

    Attributes:
        path: of the bag.
        topic: that was chosen.
    """

    kind = "bag"

    def __init__(
        self,
        path: Path,
        topic: BagTopic,
        name: str,
        size: tuple[int, int],
        *,
        reader: BagReader | None = None,
        stamps_ns: NDArray[np.int64] | None = None,
        places: NDArray[np.int64] | None = None,
        window: Window | None = None,
        on_warning: Warn | None = None,
    ) -> None:
        """Take what `open_topic` or `open_bag` found out."""
        super().__init__(name, stamps_ns, size, window=window, on_warning=on_warning)
        self.path = path
        self.topic = topic.name
        self.has_absolute_stamps = True
        self._msgtype = topic.msgtype
        self._reader = reader
        self._places = places
        self._files: MessageFiles | None = None
        self._video: VideoMessages | None = None
        self._has_read_motion = self._has_read_mount = False
        self._ego: EgoMotion | None = None
        self._mount: NDArray[np.float64] | None = None
        # A bag that is played is not looked through; its bit depth grows as it is found.
        self._decoder = ImageDecoder(self._tell, find_bit_depth=None if reader else self._find_bits)

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_files": None, "_reader": None, "_video": None}

    def close(self) -> None:
        """Release what is held open."""
        reader, self._reader, self._files, self._video = self._reader, None, None, None
        if reader is not None:
            reader.close()

    def frame_file(self, index: int) -> str:
        """Return the bag and the topic."""
        return f"{self.path} {self.topic}"

    def _title(self, index: int) -> str:
        return f"{self.name}: picture {index} of {self.topic}"

    def _fingerprint_parts(self) -> Iterable[str]:
        yield f"bag {self.topic}"
        yield self.stamps_ns.tobytes().hex()
        every = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        yield from files_identity(every, self.path.parent)

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moves, by the bag's odometry, TF or twists; see `bag_odometry`."""
        if not self._has_read_motion:
            self._has_read_motion = True
            reader = BagReader(self.path)
            try:
                track = read_motion(reader, self.warn)
            finally:
                reader.close()
            self._ego = None if track is None else track.ego(self.stamps_ns)
        return self._ego

    @property
    def base_from_optical(self) -> NDArray[np.float64] | None:
        """By the bag's transforms at the first picture; see `bag_camera`."""
        if not self._has_read_mount:
            self._has_read_mount = True
            reader = BagReader(self.path)
            try:
                self._mount = read_mount(reader, self.topic, int(self.stamps_ns[0]), self.warn)
            finally:
                reader.close()
        return self._mount

    def _own_scene(self) -> str:
        """All topics of the bag; a simulator's clock tells bags apart by nothing else."""
        every = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        digest = hashlib.sha256("\0".join(files_identity(every, self.path.parent)).encode())
        return f"bag {digest.hexdigest()[:32]}"

    def _find_stamps(self) -> NDArray[np.int64]:
        (stamps_ns, self._places), *others = _runs(
            MessageFiles(self.path).index(self.topic), self.name, self.warn
        )
        if others:
            raise InputError(
                f"{self.name}: the clock goes back; open its runs with open_recordings"
            )
        return stamps_ns

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        stamp_ns = int(self.stamps_ns[index])  # finds the places too
        image, header = self._decode_at(index, self._decoder)
        frame_id = self._frame_name(header.frame_id)
        return Frame(stamp_ns, image=image, index=index, frame_id=frame_id)

    def _stamp_of(self, header: Any, log_time_ns: int) -> int:
        stamp_ns = int(header.stamp.sec * NS_PER_S + header.stamp.nanosec)
        if not stamp_ns:
            self.warn(
                f"{self.name}: {self.topic} has no time in its headers; time of recording taken"
            )
        return stamp_ns or log_time_ns

    def _frame_name(self, frame_id: str) -> str:
        name = frame_name(frame_id)
        if name != frame_id:
            self._tell(f"frame_id {frame_id} is taken as {name}: tf2 refuses a leading slash")
        return name

    def _find_bits(self) -> int:
        return self._bit_depth_of(self._decode_at)

    def _decode_at(self, index: int, decoder: ImageDecoder) -> tuple[NDArray[np.uint8], Any]:
        assert self._places is not None
        # A forked process must not share the place in the file.
        if self._files is None or self._files.pid != os.getpid():
            self._files, self._video = MessageFiles(self.path), None
        try:
            content = self._content(index)
            codec = _codec_of(content)
            if codec is None:
                return np.ascontiguousarray(decoder.decode(content)), content.header
            if self._video is None:
                self._video = VideoMessages(codec, self._coded, len(self))
            image = self._video.picture(index)
            if image is None:
                raise ImageDecodeError(f"no picture of {content.format} video comes of it")
            return image, content.header
        except (OSError, ValueError, ImageDecodeError) as error:
            raise UnreadableFrame(self.frame_file(index), index, str(error)) from error

    def _content(self, index: int) -> Any:
        assert self._files is not None
        assert self._places is not None
        return _deserialize(self._files.read(self.topic, self._places[index]), self._msgtype)

    def _coded(self, index: int) -> bytes:
        return bytes(self._content(index).data)

    def _in_order(self) -> Iterator[Frame]:
        if self._reader is None:
            yield from super()._in_order()
            return
        reader, seen = self._reader, 0
        video: VideoDecoder | None = None
        pending: dict[int, tuple[int, str]] = {}  # of video: stamps and frames by index
        for index, message in enumerate(_messages(reader, self.topic, self.window)):
            seen = index + 1
            try:
                content = _deserialize(message.data, self._msgtype)
                stamp_ns = self._stamp_of(content.header, message.log_time_ns)
                frame_id = self._frame_name(content.header.frame_id)
                codec = _codec_of(content)
                image = None if codec else np.ascontiguousarray(self._decoder.decode(content))
            except ImageDecodeError as error:
                self._leave_out(index, str(error))
                continue
            if image is not None:
                yield Frame(stamp_ns, image=image, index=index, frame_id=frame_id)
            elif codec is not None:
                video = video or VideoDecoder(codec)
                pending[index] = (stamp_ns, frame_id)
                yield from _frames_of(video.feed(content.data, index), pending)
        if video is not None:
            yield from _frames_of(video.flush(), pending)
            if pending:
                self.warn(f"{self.name}: {len(pending)} messages of video gave no picture")
        expected = reader.expected_counts.get(self.topic)
        short = self.frame_count is not None and expected is not None and seen < expected
        if reader.damage or short:
            self.truncated = True
            self.warn(_truncation(self.name, seen, expected, "read", reader.damage))


def open_topic(
    path: Path,
    topic: str | None = None,
    window: Window | None = None,
    on_warning: Warn | None = None,
) -> BagRecording:
    """Open one image topic, to play it: nothing is looked through beforehand.

    Raises:
        InputError: no readable bag, no such topic (or several where none is named), or no good
            picture in that part of it.
    """
    window, name = window or Window(), path.name or str(path)
    reader = BagReader(path)
    try:
        others = {} if topic else no_pictures(reader)
        pictures = {name: t for name, t in reader.topics.items() if name not in others}
        alone = len(image_topics(pictures)) == 1
        chosen = choose_topic(path, pictures if alone else reader.topics, topic)
        size = _first_size(name, reader, chosen, window)
        camera = read_camera(reader, chosen.name)
    except BaseException:
        reader.close()
        raise
    found = BagRecording(
        path, chosen, name, size, reader=reader, window=window, on_warning=on_warning
    )
    found.camera = camera
    if alone and others:
        found.warn(f"{name}: {chosen.name} is read; left out: {_listed(others)}")
    count, span_ns = chosen.message_count, reader.end_ns - reader.start_ns
    if count > 1 and span_ns > 1:
        found.frame_rate_hz = (count - 1) * NS_PER_S / span_ns
    if window == Window():
        found.frame_count = reader.expected_counts.get(chosen.name, count)
    return found


def open_bag(path: Path, name: str, topics: tuple[str, ...], warn: Warn) -> list[Recording]:
    """Open image topics of a bag for any place: those named, or all that can be shown as pictures.

    Raises:
        InputError: no such topic, with the valid ones; no picture in a topic that was named.
    """
    reader = BagReader(path)
    try:
        every = image_topics(reader.topics)
        chosen = [choose_topic(path, reader.topics, topic) for topic in topics]
        if not chosen:
            others = no_pictures(reader)
            chosen = [topic for topic in every if topic.name not in others] or every
            if len(chosen) < len(every):
                warn(f"{name}: left out: {_listed(others)}")
        chosen = chosen or [choose_topic(path, reader.topics, None)]
        cameras = {topic.name: read_camera(reader, topic.name) for topic in chosen}
        promised, damage = dict(reader.expected_counts), reader.damage
    finally:
        reader.close()
    files = MessageFiles(path)
    found: list[Recording] = []
    reasons: list[str] = []
    for topic in chosen:
        full = name if len(every) == 1 else f"{name}.{topic.name.strip('/').replace('/', '.')}"
        index = files.index(topic.name)
        count, expected = len(index.stamps_ns), promised.get(topic.name)
        if damage or count < (expected or 0):
            warn(_truncation(full, count, expected, "found", damage))
        try:
            size, skipped = _indexed_size(path, topic, index, files)
        except InputError as error:
            reasons.append(str(error))
            continue
        if skipped:
            warn(f"{full}: {skipped} messages before the first key frame left out")
            index = index.after(skipped)
        for number, (stamps_ns, rows) in enumerate(_runs(index, full, warn)):
            run = full if number == 0 else f"{full}.run{number + 1}"
            places = index.places[rows]
            one = BagRecording(
                path, topic, run, size, stamps_ns=stamps_ns, places=places, on_warning=warn
            )
            one.camera = cameras[topic.name]
            found.append(one)
    if not found or (topics and reasons):
        raise InputError(reasons[0] if reasons else f"{path} holds no whole picture")
    for reason in reasons:  # a depth topic beside a camera's, most of the time
        warn(f"left out: {reason}")
    return found


def bag_of(recording: Recording) -> BagRecording | None:
    """The recording of a bag that this is, or is a part of; None for other data."""
    whole = recording.whole if isinstance(recording, PartOfRecording) else recording
    return whole if isinstance(whole, BagRecording) else None


def _deserialize(data: bytes, msgtype: str) -> Any:
    try:
        return typestore().deserialize_cdr(data, msgtype)
    except Exception as error:  # a damaged message raises errors of every kind
        raise ImageDecodeError("the message is damaged") from error


def _codec_of(content: Any) -> str | None:
    """The video codec of a message; None where its picture stands alone."""
    return video_codec(str(content.format)) if hasattr(content, "format") else None


def _frames_of(
    ready: list[tuple[int, Any]], pending: dict[int, tuple[int, str]]
) -> Iterator[Frame]:
    for index, picture in ready:
        stamp_ns, frame_id = pending.pop(index)
        yield Frame(stamp_ns, image=picture_of(picture), index=index, frame_id=frame_id)


def _messages(reader: BagReader, topic: str, window: Window) -> Iterator[StoredMessage]:
    start_ns = reader.start_ns
    return reader.messages([topic], start_ns + window.start_ns, start_ns + window.end_ns)


def _first_size(name: str, reader: BagReader, topic: BagTopic, window: Window) -> tuple[int, int]:
    """Decode up to the first good picture in order."""
    length_s = (reader.end_ns - reader.start_ns) / NS_PER_S
    reason = f"no message in that part of the bag, which is {length_s:.3f} s long"
    messages = (partial(bytes, m.data) for m in _messages(reader, topic.name, window))
    found = _first_picture(messages, topic.msgtype)
    if not isinstance(found, str):
        return found[0]
    raise InputError(f"{name}: no picture can be read from {topic.name}: {found or reason}")


def _indexed_size(
    path: Path, topic: BagTopic, index: MessageIndex, files: MessageFiles
) -> tuple[tuple[int, int], int]:
    """Size of the first good picture by its place, and how many messages before it were video."""

    reads = (partial(files.read, topic.name, place) for place in index.places)
    found = _first_picture(reads, topic.msgtype)
    if not isinstance(found, str):
        return found
    raise InputError(
        f"{path}: no picture can be read from {topic.name}: {found or 'no whole message'}"
    )


def _first_picture(
    reads: Iterable[Callable[[], bytes]], msgtype: str
) -> tuple[tuple[int, int], int] | str:
    """Decode up to the first good picture.

    Returns:
        Its (height, width), and how many messages of video came before it; or why there is none.
    """
    decoder, reason = ImageDecoder(), ""
    video: VideoDecoder | None = None
    for number, read in enumerate(reads):
        try:
            content = _deserialize(read(), msgtype)
            codec = _codec_of(content)
            if codec is None:
                height, width = decoder.decode(content).shape[:2]
                return (height, width), 0
        except (OSError, ValueError, ImageDecodeError) as error:
            reason = str(error)
            if number >= MAX_BAD_FRAMES:
                break
            continue
        try:
            video = video or VideoDecoder(codec)
        except InputError as error:
            return str(error)
        for first, picture in video.feed(content.data, number):
            return (picture.height, picture.width), first
        reason = f"{content.format} video without a key frame"
        if number >= _MOST_TO_KEY_FRAME:
            break
    for first, picture in video.flush() if video is not None else ():
        return (picture.height, picture.width), first
    return reason


def _truncation(name: str, count: int, expected: int | None, done: str, damage: str | None) -> str:
    of = "" if expected is None else f" of {expected}"
    why = f" ({damage})" if damage else ""
    return f"{name} is truncated: {count}{of} pictures could be {done}{why}"


def _runs(
    index: MessageIndex, name: str, warn: Warn
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Sort messages by their stamps, one list of stamps and rows for each run of the clock."""
    stamps_ns = index.stamps_ns
    if (stamps_ns == 0).any():
        warn(f"{name} has no time in its headers; time of recording taken")
        stamps_ns = index.log_times_ns
    starts = np.flatnonzero(np.diff(stamps_ns) < -NEW_RUN_NS) + 1
    if starts.size:
        warn(f"{name}: the clock goes back {starts.size} times; read as {starts.size + 1} runs")
    runs = []
    doubles = 0
    for rows in np.split(np.arange(len(stamps_ns)), starts):
        rows = rows[np.argsort(stamps_ns[rows], kind="stable")]
        is_new = np.diff(stamps_ns[rows], prepend=stamps_ns[rows][:1] - 1) > 0
        doubles += int((~is_new).sum())
        runs.append((stamps_ns[rows][is_new], rows[is_new]))
    if doubles:
        warn(f"{name}: {doubles} pictures with the stamp of another left out")
    return runs


def _listed(others: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({why})" for name, why in others.items())
