"""Storage files of a recording that was cut off: read what is there, in file order.

A mcap file without its end has no index, a sqlite3 file shorter than its header says is refused
by sqlite. Both hold good messages up to the cut, and a killed `ros2 bag record` is the usual way
to such a file.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, NamedTuple

BAG_SUFFIXES = (".mcap", ".db3")
MCAP_MAGIC = b"\x89MCAP0\r\n"
SQLITE_MAGIC = b"SQLite format 3\x00"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F


class StoredTopic(NamedTuple):
    """Name, message type and offered QoS (YAML text as recorded) of a topic."""

    name: str
    msgtype: str
    qos: str


class StoredMessage(NamedTuple):
    """One serialized message (CDR) with the time at which it was recorded."""

    topic: str
    log_time_ns: int
    data: bytes


class McapSalvage:
    """Scan a mcap file from its start to the cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.topics: dict[int, StoredTopic] = {}
        self._schemas: dict[int, str] = {}

    def messages(self) -> Iterator[StoredMessage]:
        """Yield every complete message; topics are known once their first one was yielded."""
        with self._path.open("rb") as file:
            file.seek(len(MCAP_MAGIC))
            for opcode, body in _mcap_records(file):
                if opcode == _DATA_END:
                    return
                try:
                    found = self._take_all(opcode, body)
                except struct.error:  # a record that is not what it says: no way on from here
                    return
                yield from sorted(found, key=lambda message: message.log_time_ns)

    def _take_all(self, opcode: int, body: bytes) -> list[StoredMessage]:
        records = _chunk_records(body) if opcode == _CHUNK else iter([(opcode, body)])
        return [found for op, b in records if (found := self._take(op, b)) is not None]

    def _take(self, opcode: int, body: bytes) -> StoredMessage | None:
        """Keep schemas and channels, and turn a message record into a message."""
        if opcode == _SCHEMA:
            (key,) = struct.unpack_from("<H", body)
            self._schemas[key] = _text(body, 2)[0]
        elif opcode == _CHANNEL:
            key, schema = struct.unpack_from("<HH", body)
            topic, position = _text(body, 4)
            _, position = _text(body, position)
            qos = _text_map(body, position).get("offered_qos_profiles", "")
            self.topics[key] = StoredTopic(topic, self._schemas.get(schema, ""), qos)
        elif opcode == _MESSAGE and len(body) >= 22:
            key, _, log_time_ns, _ = struct.unpack_from("<HIQQ", body)
            if key in self.topics:
                return StoredMessage(self.topics[key].name, log_time_ns, body[22:])
        return None


def _mcap_records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (opcode, content); of a chunk that is cut off, what there is of it."""
    while len(head := file.read(9)) == 9:
        opcode, length = struct.unpack("<BQ", head)
        position = file.tell()
        body = file.read(min(length, _left(file)))
        if len(body) < length and opcode != _CHUNK:
            return
        yield opcode, body
        if len(body) < length:
            return
        file.seek(position + length)


def _left(file: BinaryIO) -> int:
    """Bytes left, so that a length made of garbage does not ask for all memory."""
    position = file.tell()
    end = file.seek(0, 2)
    file.seek(position)
    return end - position


def _chunk_records(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the complete records in a chunk; none when a compressed one is damaged."""
    try:
        compression, position = _text(body, 28)
        (length,) = struct.unpack_from("<Q", body, position)
        content = decompress(body[position + 8 : position + 8 + length], compression)
    except Exception:  # noqa: BLE001 - each decompressor has error kinds of its own
        return
    position = 0
    while position + 9 <= len(content):
        opcode, length = struct.unpack_from("<BQ", content, position)
        position += 9 + length
        if position > len(content):
            return
        yield opcode, content[position - length : position]


def decompress(data: bytes, compression: str) -> bytes:
    """Decompress a mcap chunk's content; errors of each decompressor's own kinds."""
    if not compression:
        return data
    if compression == "lz4":
        return bytes(import_module("lz4.frame").decompress(data))
    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        zstd = import_module("backports.zstd")
    return bytes(zstd.decompress(data))


def _text(data: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, position)
    end = position + 4 + length
    return data[position + 4 : end].decode(errors="replace"), end


def _text_map(data: bytes, position: int) -> dict[str, str]:
    (length,) = struct.unpack_from("<I", data, position)
    position, end, found = position + 4, position + 4 + length, {}
    while position < min(end, len(data)):
        key, position = _text(data, position)
        found[key], position = _text(data, position)
    return found


class SqliteSalvage:
    """Read a sqlite3 storage file in the order of writing until a page is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.topics: dict[int, StoredTopic] = {}

    def messages(self) -> Iterator[StoredMessage]:
        """Yield the messages up to the first that is damaged."""
        uri = f"{self._path.resolve().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True)
        try:
            # Makes sqlite go by the file's real length instead of refusing a short file.
            connection.execute("PRAGMA writable_schema=ON")
            self.topics = {
                key: StoredTopic(name, kind, qos)
                for key, name, kind, qos in connection.execute(
                    "SELECT id, name, type, offered_qos_profiles FROM topics"
                )
            }
            # By row and not by time: the index on time is the first thing that a cut breaks.
            rows = connection.execute("SELECT topic_id, timestamp, data FROM messages")
            for key, timestamp, data in rows:
                if key in self.topics:
                    yield StoredMessage(self.topics[key].name, timestamp, bytes(data))
        except sqlite3.Error:
            return
        finally:
            connection.close()


def open_salvage(path: Path) -> McapSalvage | SqliteSalvage | None:
    """Choose by the file's first bytes; None when it is neither kind of storage."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(MCAP_MAGIC):
        return McapSalvage(path)
    if head == SQLITE_MAGIC:
        return SqliteSalvage(path)
    return None


def scan(path: Path) -> tuple[dict[StoredTopic, int], int, int]:
    """Count the messages of each topic; also the first and last log time (0, 0 when none)."""
    salvage = open_salvage(path)
    if salvage is None:
        return {}, 0, 0
    counts: dict[str, int] = {}
    first_ns, last_ns = 2**63, 0
    for message in salvage.messages():
        counts[message.topic] = counts.get(message.topic, 0) + 1
        first_ns, last_ns = min(first_ns, message.log_time_ns), max(last_ns, message.log_time_ns)
    topics = {topic: counts.get(topic.name, 0) for topic in salvage.topics.values()}
    return (topics, first_ns, last_ns) if counts else (topics, 0, 0)


def salvaged_messages(
    path: Path, topics: Collection[str], start_ns: int, end_ns: int
) -> Iterator[StoredMessage]:
    """Yield the messages of some topics with `start_ns` <= log time < `end_ns`."""
    salvage = open_salvage(path)
    if salvage is not None:
        for message in salvage.messages():
            if message.topic in topics and start_ns <= message.log_time_ns < end_ns:
                yield message
