"""Where the messages of a topic lie in a mcap file, whole or cut off."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from zlib import crc32

from dino_foresight_ros.recordings.bag_salvage import MCAP_MAGIC, decompress
from dino_foresight_ros.recordings.recording import NS_PER_S

NO_CHUNK = -1
_CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x04, 0x05, 0x06, 0x0F
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_CHUNK_HEAD = struct.Struct("<QQQII")
STAMP_BYTES = 12


class Row(NamedTuple):
    """A message: when it was recorded, its header's stamp, and where its content lies.

    `offset` counts in the content of the chunk at `chunk`, or in the file when that is -1.
    """

    log_time_ns: int
    stamp_ns: int
    chunk: int
    offset: int
    length: int


class McapIndex:
    """Walks through the records of a file, past the contents of messages."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._channels: set[int] = set()

    def rows(self, file: BinaryIO) -> Iterator[Row]:
        """Yield the messages of the topic up to the end of the data, or to the cut."""
        end = file.seek(0, 2)
        yield from self._level(file, len(MCAP_MAGIC), end, NO_CHUNK, 0)

    def _level(
        self, file: BinaryIO, position: int, end: int, chunk: int, base: int
    ) -> Iterator[Row]:
        """Yield the messages among the records from `position` to `end`."""
        while position + 9 <= end:
            file.seek(position)
            opcode, length = struct.unpack("<BQ", file.read(9))
            body, position = position + 9, position + 9 + length
            if position > end and opcode != _CHUNK:
                return
            if opcode == _CHANNEL:
                self._add_channel(file.read(length))
            elif opcode == _MESSAGE and length >= _MESSAGE_HEAD.size + STAMP_BYTES:
                channel, _, log_ns, _ = _MESSAGE_HEAD.unpack(file.read(_MESSAGE_HEAD.size))
                if channel in self._channels:
                    start, size = body + _MESSAGE_HEAD.size, length - _MESSAGE_HEAD.size
                    stamp_ns = header_stamp_ns(file.read(STAMP_BYTES))
                    yield Row(log_ns, stamp_ns, chunk, start - base, size)
            elif opcode == _CHUNK and chunk == NO_CHUNK:
                yield from self._chunk(file, body, min(position, end))
            elif opcode == _DATA_END:
                return

    def _chunk(self, file: BinaryIO, body: int, end: int) -> Iterator[Row]:
        try:
            head = _read_chunk_head(file, body)
            if head.compression:
                content = chunk_content(file, body)
                yield from self._level(io.BytesIO(content), 0, len(content), body, 0)
                return
        except ValueError:
            return
        stop = min(head.start + head.length, end)
        # A chunk with a checksum is read as a whole later, so that the sum can be checked.
        if head.crc and stop == head.start + head.length:
            yield from self._level(file, head.start, stop, body, head.start)
        else:
            for row in self._level(file, head.start, stop, body, 0):
                yield row._replace(chunk=NO_CHUNK)

    def _add_channel(self, body: bytes) -> None:
        key, _, length = struct.unpack_from("<HHI", body)
        if body[8 : 8 + length].decode(errors="replace") == self._topic:
            self._channels.add(key)


class _ChunkHead(NamedTuple):
    crc: int
    compression: str
    start: int
    length: int


def _read_chunk_head(file: BinaryIO, body: int) -> _ChunkHead:
    file.seek(body)
    try:
        _, _, _, crc, name = _CHUNK_HEAD.unpack(file.read(_CHUNK_HEAD.size))
        if name > 64:
            raise ValueError("a damaged chunk")
        compression = file.read(name).decode(errors="replace")
        (length,) = struct.unpack("<Q", file.read(8))
    except struct.error as error:
        raise ValueError("a chunk that is cut off") from error
    return _ChunkHead(crc, compression, file.tell(), length)


def chunk_content(file: BinaryIO, body: int) -> bytes:
    """Read and decompress the chunk whose record's body begins at `body`.

    Raises:
        ValueError: it is cut off or damaged.
    """
    head = _read_chunk_head(file, body)
    left = file.seek(0, 2) - head.start
    file.seek(head.start)
    data = file.read(min(head.length, max(left, 0)))
    if len(data) < head.length:
        raise ValueError("its chunk is cut off")
    try:
        content = decompress(data, head.compression)
    except Exception as error:  # each decompressor has error kinds of its own
        raise ValueError("its chunk cannot be decompressed") from error
    if head.crc and crc32(content) != head.crc:
        raise ValueError("its chunk does not match its checksum")
    return content


def header_stamp_ns(data: bytes) -> int:
    """Read the stamp of a std_msgs/Header at the start of a serialized message."""
    order = "<" if data[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", data, 4)
    return int(sec * NS_PER_S + nanosec)
