"""Storage files of rosbag2 (mcap and sqlite3), whole or cut off: topics, and where messages lie.

A mcap file without its end has no index, and a sqlite3 file shorter than its header says is refused
by sqlite. Both hold good messages up to the cut, and a killed `ros2 bag record` is the usual way
to such a file. So files are walked through here, past the contents of messages that are not
compressed, and each message is found again by its place.
"""

from __future__ import annotations

import io
import os
import sqlite3
import struct
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema
from mcap.stream_reader import CRCValidationError, get_chunk_data_stream

from dino_foresight_ros.recordings.bag_compression import is_compressed_message, plain_message
from dino_foresight_ros.recordings.file_kinds import without_copies
from dino_foresight_ros.recordings.message_conversion import (
    CDR,
    OTHER_PACKAGES,
    find_conversion,
)

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_NO_SCHEMA = Schema(id=0, data=b"", encoding="", name="")
_SQLITE_MAGIC = b"SQLite format 3\x00"
_NO_CHUNK = -1
_RECORD = struct.Struct("<BQ")  # opcode, length of the content
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time; the content follows
_CHUNK_CRC = struct.Struct("<24xII")  # behind two times and a size: checksum, length of a name
_HEAD_BYTES = 12
_KEPT_BYTES = 64 << 20


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


class Place(NamedTuple):
    """Where a message lies, and its first 12 bytes.

    `offset` counts in the content of the chunk at `chunk`, or in the file when that is -1; in
    sqlite3 it is the row's id.
    """

    topic: str
    log_time_ns: int
    head: bytes
    chunk: int
    offset: int
    length: int


class StorageFile(ABC):
    """A storage file of either kind.

    Attributes:
        topics: by id, those met so far by `places`.
        is_foreign: it was not written by ROS 2, or not all of it.
    """

    def __init__(self) -> None:
        self.topics: dict[int, StoredTopic] = {}
        self.is_foreign = False
        self._converters: dict[str, Callable[[bytes], bytes] | None] = {}

    @property
    def is_closed(self) -> bool:
        """Whether the file is known to have been written to its end."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @abstractmethod
    def places(self) -> Iterator[Place]:
        """Yield every whole message in the order of writing, up to the end or a cut."""

    @abstractmethod
    def read(self, chunk: int, offset: int, length: int) -> bytes:
        """Return the stored bytes at a place.

        Raises:
            ValueError: they are damaged or gone.
            OSError: the file cannot be read.
        """

    def message(self, topic: str, chunk: int, offset: int, length: int) -> bytes:
        """Return the message at a place in CDR; errors as `read` has them."""
        data = plain_message(self.read(chunk, offset, length))
        if topic not in self._converters:  # not met yet by this object
            next((place for place in self.places() if place.topic == topic), None)
        convert = self._converters.get(topic)
        return data if convert is None else convert(data)

    def head(self, place: Place) -> bytes:
        """The beginning of a message in CDR, at least as much as a stamp takes where it has one."""
        if self._converters[place.topic] is not None or is_compressed_message(place.head):
            return self.message(place.topic, *place[3:])
        return place.head

    def _add_topic(
        self, key: int, name: str, msgtype: str, qos: str, encoding: str, schema: bytes = b""
    ) -> None:
        self.is_foreign |= encoding != CDR
        is_usual = encoding == CDR and not msgtype.startswith(OTHER_PACKAGES)
        found = None if is_usual else find_conversion(msgtype, encoding, schema)
        self._converters[name] = None if found is None else found.convert
        if found is not None:
            msgtype = found.msgtype
        elif not is_usual and encoding != CDR:
            msgtype = f"{msgtype} in {encoding or 'no known encoding'}"
        self.topics[key] = StoredTopic(name, msgtype, qos)


class McapFile(StorageFile):
    """A mcap file. In a chunk `places` go by time."""

    def __init__(self, path: Path, check: bool = True) -> None:
        """Open it; `check` the chunks' checksums."""
        super().__init__()
        self._schemas: dict[int, Schema] = {}
        self._check = check
        self._file = path.open("rb")
        self.is_foreign = self._profile() != b"ros2"
        self._chunks: OrderedDict[int, bytes] = OrderedDict()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _profile(self) -> bytes:
        """What the file's header says of its contents: ros2, ros1, or nothing."""
        self._file.seek(len(_MCAP_MAGIC) + _RECORD.size)
        (length,) = struct.unpack("<I", self._file.read(4).ljust(4, b"\0"))
        return self._file.read(min(length, 16))

    @property
    def is_closed(self) -> bool:
        """Whether the file was written to its end."""
        self._file.seek(max(0, _length(self._file) - len(_MCAP_MAGIC)))
        return self._file.read() == _MCAP_MAGIC and _length(self._file) > 2 * len(_MCAP_MAGIC)

    def places(self) -> Iterator[Place]:
        """Yield every whole message, up to the end or a cut."""
        return self._walk(self._file, len(_MCAP_MAGIC), _length(self._file), _NO_CHUNK, 0)

    def _walk(
        self, file: BinaryIO, position: int, end: int, chunk: int, base: int
    ) -> Iterator[Place]:
        """Yield the messages among the records from `position` to `end`."""
        while position + _RECORD.size <= end:
            file.seek(position)
            opcode, length = _RECORD.unpack(file.read(_RECORD.size))
            body = position + _RECORD.size
            position = body + length
            if opcode == Opcode.CHUNK and chunk == _NO_CHUNK:
                yield from self._walk_chunk(body, min(position, end))
            elif position > end or opcode == Opcode.DATA_END:
                return
            elif opcode == Opcode.MESSAGE and length >= _MESSAGE.size:
                channel, _, log_ns, _ = _MESSAGE.unpack(file.read(_MESSAGE.size))
                if channel in self.topics:
                    size = length - _MESSAGE.size
                    head = file.read(min(size, _HEAD_BYTES))
                    offset = body + _MESSAGE.size - base
                    yield Place(self.topics[channel].name, log_ns, head, chunk, offset, size)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                try:
                    self._keep(opcode, ReadDataStream(io.BytesIO(file.read(length))))
                except (struct.error, McapError, ValueError):
                    return  # a record that is not what it says: no way on from here

    def _keep(self, opcode: int, record: ReadDataStream) -> None:
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(record)
            self._schemas[schema.id] = schema
        else:
            channel = Channel.read(record)
            schema = self._schemas.get(channel.schema_id, _NO_SCHEMA)
            qos = channel.metadata.get("offered_qos_profiles", "")
            self._add_topic(
                channel.id,
                channel.topic,
                schema.name,
                qos,
                channel.message_encoding,
                schema.data,
            )

    def _walk_chunk(self, body: int, end: int) -> Iterator[Place]:
        try:
            head = self._chunk_head(body)
            stop = min(head.start + head.size, end)
            if head.compression:
                content = self._content(body)
                found = self._walk(io.BytesIO(content), 0, len(content), body, 0)
            elif self._check and head.crc and stop == head.start + head.size:
                # It is read as a whole later, so that the checksum can be compared.
                found = self._walk(self._file, head.start, stop, body, head.start)
            else:
                inside = self._walk(self._file, head.start, stop, body, 0)
                found = (place._replace(chunk=_NO_CHUNK) for place in inside)
            yield from sorted(found, key=lambda place: place.log_time_ns)
        except ValueError:
            return

    def _chunk_head(self, body: int) -> _ChunkHead:
        self._file.seek(body)
        try:
            crc, name = _CHUNK_CRC.unpack(self._file.read(_CHUNK_CRC.size))
            if name > 64:
                raise ValueError("a damaged chunk")
            compression = self._file.read(name).decode(errors="replace")
            (size,) = struct.unpack("<Q", self._file.read(8))
        except struct.error as error:
            raise ValueError("a chunk that is cut off") from error
        return _ChunkHead(crc, compression, self._file.tell(), size)

    def _content(self, body: int) -> bytes:
        """Decompress a chunk, or take it from the last ones."""
        if body not in self._chunks:
            self._chunks[body] = self._decompressed(body)
            while len(self._chunks) > 1 and sum(map(len, self._chunks.values())) > _KEPT_BYTES:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(body)
        return self._chunks[body]

    def _decompressed(self, body: int) -> bytes:
        head = self._chunk_head(body)
        if head.start + head.size > _length(self._file):
            raise ValueError("its chunk is cut off")
        self._file.seek(body)
        try:
            chunk = Chunk.read(ReadDataStream(self._file))
            stream, size = get_chunk_data_stream(chunk, validate_crc=self._check)
            return stream.read(size)
        except CRCValidationError as error:
            raise ValueError("its chunk does not match its checksum") from error
        except Exception as error:  # each decompressor has error kinds of its own
            raise ValueError("its chunk cannot be decompressed") from error

    def read(self, chunk: int, offset: int, length: int) -> bytes:
        """Return the stored bytes at a place."""
        if chunk == _NO_CHUNK:
            self._file.seek(offset)
            data = self._file.read(length)
        else:
            data = self._content(chunk)[offset : offset + length]
        if len(data) != length:
            raise ValueError("the file has become shorter")
        return data


class _ChunkHead(NamedTuple):
    crc: int
    compression: str
    start: int
    size: int


class SqliteFile(StorageFile):
    """A sqlite3 storage file, in the order of writing until a page is missing."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True)
        with suppress(sqlite3.Error):
            # Makes sqlite go by the file's real length instead of refusing a short file.
            self._connection.execute("PRAGMA writable_schema=ON")
            rows = "SELECT id, name, type, offered_qos_profiles, serialization_format FROM topics"
            for key, name, kind, qos, encoding in self._connection.execute(rows):
                self._add_topic(key, name, kind, qos, encoding)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def places(self) -> Iterator[Place]:
        """Yield the messages up to the first that is damaged."""
        # By row and not by time: the index on time is the first thing that a cut breaks.
        rows = "SELECT id, topic_id, timestamp, substr(data, 1, ?), length(data) FROM messages"
        with suppress(sqlite3.Error):
            for row, key, log_ns, head, length in self._connection.execute(rows, (_HEAD_BYTES,)):
                if key in self.topics:
                    name = self.topics[key].name
                    yield Place(name, log_ns, bytes(head), _NO_CHUNK, row, length)

    def read(self, chunk: int, offset: int, length: int) -> bytes:
        """Return the stored bytes at a place."""
        try:
            query = self._connection.execute("SELECT data FROM messages WHERE id=?", (offset,))
            found = query.fetchone()
        except sqlite3.Error as error:
            raise ValueError(f"the database is damaged: {error}") from error
        if found is None:
            raise ValueError("the message is gone")
        return bytes(found[0])


def open_storage(path: Path, check: bool = True) -> StorageFile | None:
    """Choose by the file's first bytes; None when it is neither kind of storage."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_MCAP_MAGIC):
        return McapFile(path, check)
    return SqliteFile(path) if head == _SQLITE_MAGIC else None


def storage_files(path: Path) -> list[Path]:
    """List a bag's storage files in the order of recording."""
    return [path] if path.is_file() else without_copies(path.iterdir())


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
