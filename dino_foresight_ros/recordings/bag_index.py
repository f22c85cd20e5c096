"""An index of where each message of a topic lies in a bag, for random access.

Asking a bag for a moment scans the whole file where the recorder wrote no index: mcap without
chunks, as it is written for speed, and every recording that was cut off. Here each file is walked
through once.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.bag_compression import Unpacked
from dino_foresight_ros.recordings.bag_storage import open_storage, storage_files
from dino_foresight_ros.stamps import NS_PER_S

STAMP_BYTES = 12
"""Of a serialized message, up to the end of the stamp in its header."""


@dataclass(frozen=True)
class MessageIndex:
    """The messages of one topic, by time of recording.

    Attributes:
        log_times_ns: (N,) int64 times of recording.
        stamps_ns: (N,) int64 stamps in the headers, 0 where there is none.
        places: (N, 4) int64: what `read` needs.
    """

    log_times_ns: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of_rows(cls, rows: list[tuple[int, ...]]) -> MessageIndex:
        """Sort rows of log time, stamp and place."""
        table = np.array(sorted(rows), np.int64).reshape(-1, 6)
        return cls(table[:, 0], table[:, 1], table[:, 2:])

    def after(self, count: int) -> MessageIndex:
        """Leave the first messages out."""
        return MessageIndex(self.log_times_ns[count:], self.stamps_ns[count:], self.places[count:])


class MessageFiles:
    """Finds messages in a bag's storage files and reads them by their places.

    A forked process must not share it, and unpacks a copy of its own where whole files are
    compressed.

    Attributes:
        pid: the process that it belongs to.
    """

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        unpacked = Unpacked()
        self._files = [open_storage(unpacked.path(file)) for file in storage_files(path)]
        unpacked.close()  # what is open stays readable, and nothing is left behind

    def index(self, topic: str) -> MessageIndex:
        """Find every whole message of a topic whose messages begin with a std_msgs/Header."""
        rows: list[tuple[int, ...]] = []
        for number, file in enumerate(self._files):
            for place in file.places() if file is not None else ():
                if place.topic != topic or file is None:
                    continue
                with suppress(OSError, ValueError):
                    head = file.head(place)
                    if len(head) >= STAMP_BYTES:
                        stamp_ns = header_stamp_ns(head)
                        rows.append((place.log_time_ns, stamp_ns, number, *place[3:]))
        return MessageIndex.of_rows(rows)

    def read(self, topic: str, place: NDArray[np.int64]) -> bytes:
        """Return the serialized message at a row of `MessageIndex.places`.

        Raises:
            ValueError: it is damaged or gone.
            OSError: its file cannot be read.
        """
        number, *where = (int(value) for value in place)
        file = self._files[number]
        if file is None:
            raise ValueError("the message is gone")
        return file.message(topic, *where)


def header_stamp_ns(data: bytes) -> int:
    """Read the stamp of a std_msgs/Header at the start of a serialized message."""
    sec, nanosec = struct.unpack_from(f"{'<' if data[1] & 1 else '>'}iI", data, 4)
    return int(sec * NS_PER_S + nanosec)


def with_header_stamp(data: bytes, stamp_ns: int) -> bytes:
    """Return a serialized message whose std_msgs/Header at the start has another stamp."""
    stamp = struct.pack(f"{'<' if data[1] & 1 else '>'}iI", *divmod(stamp_ns, NS_PER_S))
    return data[:4] + stamp + data[4 + len(stamp) :]
