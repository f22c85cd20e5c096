"""What rosbag2 compresses, whole files or single messages, as plain ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lz4.frame
import zstandard

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.file_kinds import unpacked_name

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Unpacked:
    """Storage files ready to be opened: compressed ones are unpacked into a temporary folder.

    The folder is gone with this object.
    """

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._made: dict[Path, Path] = {}

    def path(self, file: Path) -> Path:
        """Return the path of a storage file that is not compressed; one that is cut is cut there.

        Raises:
            InputError: there is no room for it.
        """
        if unpacked_name(file) == file.name:
            return file
        if file not in self._made:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="foresight-bag-")
            target = Path(self._folder.name, unpacked_name(file))
            try:
                with target.open("wb") as out:
                    for block in _decompress(file):
                        out.write(block)
            except OSError as error:
                raise InputError(
                    f"{file} cannot be unpacked into {self._folder.name}: "
                    f"{error.strerror or error}; TMPDIR names another place"
                ) from error
            self._made[file] = target
        return self._made[file]

    def close(self) -> None:
        """Remove what was unpacked."""
        folder, self._folder = self._folder, None
        self._made.clear()
        if folder is not None:
            folder.cleanup()


def _decompress(file: Path) -> Iterator[bytes]:
    """Yield a compressed file's content, as far as it goes."""
    with file.open("rb") as packed:
        opened: Any
        if file.suffix == ".lz4":
            opened = lz4.frame.open(packed)
        else:
            opened = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        with opened, suppress(EOFError, RuntimeError, zstandard.ZstdError):
            while block := opened.read(1 << 20):
                yield block


def is_compressed_message(head: bytes) -> bool:
    """Whether rosbag2 compressed a message by itself; a serialized one begins with 0."""
    return head.startswith(_ZSTD_MAGIC)


def plain_message(data: bytes) -> bytes:
    """A serialized message, decompressed where rosbag2 compressed it.

    Raises:
        ValueError: it is damaged.
    """
    if not is_compressed_message(data):
        return data
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError("its message cannot be decompressed") from error
