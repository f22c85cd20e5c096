"""Image topics of rosbag2 recordings, read at any place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag import choose_topic, image_topics
from dino_foresight_ros.recordings.bag_index import (
    CompressedBag,
    MessageFiles,
    MessageIndex,
    storage_files,
)
from dino_foresight_ros.recordings.bag_reader import BagReader, BagTopic, typestore
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.images import ImageDecodeError, decode_message
from dino_foresight_ros.recordings.recording import (
    NS_PER_S,
    LabelledFrame,
    PartOfRecording,
    Recording,
    UnreadableFrame,
)

# A stamp that is earlier than the one before by more than this begins a new recording: a clock that
# was set back, or a second run in one bag. Smaller steps back are messages out of order.
_NEW_RUN_NS = NS_PER_S
_ATTEMPTS = 20
Warn = Callable[[str], None]


class BagRecording(Recording):
    """Pictures of one image topic, with the stamps in their headers."""

    def __init__(
        self,
        path: Path,
        topic: str,
        msgtype: str,
        name: str,
        stamps_ns: NDArray[np.int64],
        places: NDArray[np.int64],
        size: tuple[int, int],
    ) -> None:
        super().__init__(name, stamps_ns, size)
        self.path = path
        self.topic = topic
        self._msgtype = msgtype
        self._places = places
        self._reader: MessageFiles | CompressedBag | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_reader": None}

    def frame_file(self, index: int) -> str:
        """Return the bag and the topic."""
        return f"{self.path} {self.topic}"

    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        # A forked process must not share the place in the file.
        if self._reader is None or not self._reader.is_own:
            self._reader = message_files(self.path)
        try:
            image = _decode(self._reader.read(self.topic, self._places[index]), self._msgtype)
        except (OSError, ValueError) as error:
            raise UnreadableFrame(self.frame_file(index), index, str(error)) from error
        return LabelledFrame(image, int(self.stamps_ns[index]))

    def _fingerprint_parts(self) -> Iterable[str]:
        yield f"bag {self.topic}"
        yield self.stamps_ns.tobytes().hex()
        every = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        yield from files_identity(every, self.path.parent)


def bag_of(recording: Recording) -> BagRecording | None:
    """The recording of a bag that this is, or is a part of; None for other data."""
    whole = recording.whole if isinstance(recording, PartOfRecording) else recording
    return whole if isinstance(whole, BagRecording) else None


def open_bag(path: Path, name: str, topics: tuple[str, ...], warn: Warn) -> list[Recording]:
    """Open image topics of a bag: those named, or all that can be shown as pictures.

    Raises:
        InputError: no such topic, with the valid ones; no picture in a topic that was named.
    """
    reader = BagReader(path)
    try:
        every = image_topics(reader.topics)
        chosen = [choose_topic(path, reader.topics, topic) for topic in topics]
        chosen = chosen or every or [choose_topic(path, reader.topics, None)]
        promised, damage = dict(reader.expected_counts), reader.damage
    finally:
        reader.close()
    files = message_files(path)
    found: list[Recording] = []
    reasons: list[str] = []
    for topic in chosen:
        full = name if len(every) == 1 else f"{name}.{topic.name.strip('/').replace('/', '.')}"
        index = files.index(topic.name)
        expected = promised.get(topic.name, len(index.stamps_ns))
        if damage or len(index.stamps_ns) < expected:
            of = f" of {expected}" if topic.name in promised else ""
            why = f" ({damage})" if damage else ""
            warn(f"{full} is truncated: {len(index.stamps_ns)}{of} pictures could be found{why}")
        try:
            size = _size(path, topic, index)
        except InputError as error:
            reasons.append(str(error))
            continue
        for number, (stamps_ns, rows) in enumerate(_runs(index, full, warn)):
            run = full if number == 0 else f"{full}.run{number + 1}"
            places = index.places[rows]
            found.append(
                BagRecording(path, topic.name, topic.msgtype, run, stamps_ns, places, size)
            )
    if not found or (topics and reasons):
        raise InputError(reasons[0] if reasons else f"{path} holds no whole picture")
    for reason in reasons:  # a depth topic beside a camera's, most of the time
        warn(f"left out: {reason}")
    return found


def _decode(data: bytes, msgtype: str) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) uint8 RGB; ValueError for one that is damaged."""
    try:
        content: Any = typestore().deserialize_cdr(data, msgtype)
    except Exception as error:  # a damaged message raises errors of every kind
        raise ValueError("the message is damaged") from error
    try:
        return np.ascontiguousarray(decode_message(content))
    except ImageDecodeError as error:
        raise ValueError(str(error)) from error


def message_files(path: Path) -> MessageFiles | CompressedBag:
    """Find and read the messages of a bag at any place."""
    return CompressedBag(path) if _compression(path) else MessageFiles(storage_files(path))


def _size(path: Path, topic: BagTopic, index: MessageIndex) -> tuple[int, int]:
    """Decode up to the first good picture."""
    files, reason = message_files(path), "no whole message"
    for place in index.places[:_ATTEMPTS]:
        try:
            shape = _decode(files.read(topic.name, place), topic.msgtype).shape
        except (OSError, ValueError) as error:
            reason = str(error)
            continue
        return (shape[0], shape[1])
    raise InputError(f"{path}: no picture can be read from {topic.name}: {reason}")


def _runs(
    index: MessageIndex, name: str, warn: Warn
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Sort messages by their stamps, one list of stamps and rows for each run of the clock."""
    stamps_ns = index.stamps_ns
    if (stamps_ns == 0).any():
        warn(f"{name} has no time in its headers; time of recording taken")
        stamps_ns = index.log_times_ns
    starts = np.flatnonzero(np.diff(stamps_ns) < -_NEW_RUN_NS) + 1
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


def _compression(path: Path) -> str:
    """Return what rosbag2 compressed on top of the storage: "", "file" or "message"."""
    try:
        content = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))
        mode = str(content["rosbag2_bagfile_information"].get("compression_mode") or "").lower()
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return ""
    return mode if mode in ("file", "message") else ""
