"""Where each message of a topic lies in a rosbag2's storage files, for reading at any place.

Asking a bag for a moment scans the whole file where the recorder wrote no index: mcap without
chunks, as it is written for speed, and every recording that was cut off. Here each file is walked
through once, past the contents of messages that are not compressed, and a message is found again by
its offset.
"""

from __future__ import annotations

import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_salvage import BAG_SUFFIXES, MCAP_MAGIC, SQLITE_MAGIC
from dino_foresight_ros.recordings.folder import natural_key
from dino_foresight_ros.recordings.mcap_index import (
    NO_CHUNK,
    STAMP_BYTES,
    McapIndex,
    Row,
    chunk_content,
    header_stamp_ns,
)

_KEPT_BYTES = 64 << 20


@dataclass(frozen=True)
class MessageIndex:
    """The messages of one topic, by time of recording.

    Attributes:
        log_times_ns: (N,) int64 times of recording.
        stamps_ns: (N,) int64 stamps in the headers, 0 where there is none.
        places: (N, 4) int64: number of the file, chunk, offset (sqlite: the row's id), length.
    """

    log_times_ns: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    places: NDArray[np.int64]


def storage_files(path: Path) -> list[Path]:
    """List a bag's storage files in the order of recording."""
    if path.is_file():
        return [path]
    files = [entry for entry in path.iterdir() if entry.suffix in BAG_SUFFIXES]
    return sorted(files, key=lambda file: natural_key(file.name))


class _PerProcess:
    """Something with open files, which a forked process must not share."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_own(self) -> bool:
        """Whether this is still the process that made it."""
        return self._pid == os.getpid()


class MessageFiles(_PerProcess):
    """Finds messages in storage files and reads them by their places."""

    def __init__(self, files: list[Path]) -> None:
        super().__init__()
        self._files = files
        self._mcap: dict[int, BinaryIO] = {}
        self._sqlite: dict[int, sqlite3.Connection] = {}
        self._chunks: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def index(self, topic: str) -> MessageIndex:
        """Find every whole message of a topic whose messages begin with a std_msgs/Header."""
        rows: list[tuple[int, ...]] = []
        for number, path in enumerate(self._files):
            with path.open("rb") as file:
                head = file.read(16)
                found: Iterator[Row] = iter(())
                if head.startswith(MCAP_MAGIC):
                    found = McapIndex(topic).rows(file)
                elif head == SQLITE_MAGIC:
                    found = _sqlite_rows(path, topic)
                rows += [(row.log_time_ns, row.stamp_ns, number, *row[2:]) for row in found]
        return _table(rows)

    def read(self, topic: str, place: NDArray[np.int64]) -> bytes:
        """Return the serialized message at a row of `MessageIndex.places`.

        Raises:
            ValueError: it is damaged or gone.
            OSError: its file cannot be read.
        """
        number, chunk, offset, length = (int(value) for value in place)
        if self._files[number].suffix == ".db3":
            return self._row(number, offset)
        if number not in self._mcap:
            self._mcap[number] = self._files[number].open("rb")
        file = self._mcap[number]
        if chunk == NO_CHUNK:
            file.seek(offset)
            data = file.read(length)
        else:
            data = self._chunk(file, number, chunk)[offset : offset + length]
        if len(data) != length:
            raise ValueError("the file has become shorter")
        return data

    def _row(self, number: int, row: int) -> bytes:
        if number not in self._sqlite:
            self._sqlite[number] = _connect(self._files[number])
        try:
            query = self._sqlite[number].execute("SELECT data FROM messages WHERE id=?", (row,))
            found = query.fetchone()
        except sqlite3.Error as error:
            raise ValueError(f"the database is damaged: {error}") from error
        if found is None:
            raise ValueError("the message is gone")
        return bytes(found[0])

    def _chunk(self, file: BinaryIO, number: int, body: int) -> bytes:
        key = (number, body)
        if key not in self._chunks:
            self._chunks[key] = chunk_content(file, body)
            while len(self._chunks) > 1 and sum(map(len, self._chunks.values())) > _KEPT_BYTES:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(key)
        return self._chunks[key]


class CompressedBag(_PerProcess):
    """Finds and reads messages of a bag that rosbag2 itself compressed, by their log times.

    Slower, and every process unpacks a copy of its own where whole files are compressed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._reader = BagReader(path)

    def index(self, topic: str) -> MessageIndex:
        """Find every message of a topic whose messages begin with a std_msgs/Header."""
        rows: list[tuple[int, ...]] = []
        for message in self._reader.messages([topic]):
            log_ns, data = message.log_time_ns, message.data
            # Of several messages with one log time, which one.
            order = rows[-1][4] + 1 if rows and rows[-1][0] == log_ns else 0
            rows.append((log_ns, header_stamp_ns(data), 0, log_ns, order, len(data)))
        return _table(rows)

    def read(self, topic: str, place: NDArray[np.int64]) -> bytes:
        """Return the serialized message; errors as MessageFiles has them."""
        _, log_ns, order, _ = (int(value) for value in place)
        found = list(self._reader.messages([topic], log_ns, log_ns + 1))
        if order >= len(found):
            raise ValueError("the message is gone")
        return found[order].data


def _table(rows: list[tuple[int, ...]]) -> MessageIndex:
    table = np.array(sorted(rows), np.int64).reshape(-1, 6)
    return MessageIndex(table[:, 0], table[:, 1], table[:, 2:])


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    # Makes sqlite go by the file's real length instead of refusing a short file.
    connection.execute("PRAGMA writable_schema=ON")
    return connection


def _sqlite_rows(path: Path, topic: str) -> Iterator[Row]:
    """Yield the messages up to the first that is damaged."""
    connection = _connect(path)
    try:
        # By row and not by time: the index on time is the first thing that a cut breaks.
        query = (
            "SELECT id, timestamp, substr(data, 1, ?), length(data) FROM messages "
            "WHERE topic_id IN (SELECT id FROM topics WHERE name=?)"
        )
        for row, log_ns, head, length in connection.execute(query, (STAMP_BYTES, topic)):
            if length >= STAMP_BYTES:
                yield Row(log_ns, header_stamp_ns(bytes(head)), NO_CHUNK, row, length)
    except sqlite3.Error:
        return
    finally:
        connection.close()
