"""Image topics of rosbag2 recordings, read at any place."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.media.bag import BagSource, choose_topic, image_topics
from dino_foresight_ros.media.bag_reader import BagReader
from dino_foresight_ros.media.images import decode_message
from dino_foresight_ros.media.source import Window

from .files import files_identity
from .recording import LabelledFrame, Recording, UnreadableFrame


class BagRecording(Recording):
    """Pictures of one image topic, with the stamps in their headers."""

    def __init__(
        self,
        path: Path,
        topic: str,
        name: str,
        stamps_ns: NDArray[np.int64],
        log_times_ns: NDArray[np.int64],
        size: tuple[int, int],
    ) -> None:
        super().__init__(name, stamps_ns, size)
        self.path = path
        self.topic = topic
        self._log_times_ns = log_times_ns
        self._reader: BagReader | None = None
        self._pid = 0

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_reader": None}

    def frame_file(self, index: int) -> str:
        """Return the bag and the topic."""
        return f"{self.path} {self.topic}"

    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        if self._reader is None or self._pid != os.getpid():
            self._reader, self._pid = BagReader(self.path), os.getpid()
        log_ns, stamp_ns = int(self._log_times_ns[index]), int(self.stamps_ns[index])
        for message in self._reader.messages([self.topic], log_ns, log_ns + 1):
            try:
                content = self._reader.deserialize(message)
                stamp = content.header.stamp
                if stamp.sec * 10**9 + stamp.nanosec in (0, stamp_ns):
                    return LabelledFrame(decode_message(content), stamp_ns)
            except Exception as error:  # a damaged message raises errors of every kind
                raise UnreadableFrame(self.frame_file(index), index, str(error)) from error
        raise UnreadableFrame(self.frame_file(index), index, "the message is gone")

    def _fingerprint_parts(self) -> Iterable[str]:
        yield f"bag {self.topic}"
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        yield from files_identity(files, self.path.parent)


def open_bag(
    path: Path,
    name: str,
    topics: tuple[str, ...],
    on_warning: Callable[[str], None] | None,
) -> list[Recording]:
    """Open the wanted image topics of a bag; all of them when none is named."""
    reader = BagReader(path)
    try:
        every = image_topics(reader.topics)
        chosen = [choose_topic(path, reader.topics, topic).name for topic in topics]
        chosen = chosen or [topic.name for topic in every] or [choose_topic(path, {}, None).name]
    finally:
        reader.close()
    found: list[Recording] = []
    for topic in chosen:
        full = name if len(every) == 1 else f"{name}.{topic.strip('/').replace('/', '.')}"
        source = BagSource(path, Window(), on_warning, topic)
        with source:
            times = [
                (source._stamp(source._decode(m)[1], m), m.log_time_ns) for m in source._messages()
            ]
            array = np.array(times, np.int64)
            found.append(BagRecording(path, topic, full, array[:, 0], array[:, 1], source.size))
    return found
