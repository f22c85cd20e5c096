"""Writes frames as a rosbag2 that `ros2 bag play` reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.files import check_replaceable, swap_in
from dino_foresight_ros.recordings import bag_messages
from dino_foresight_ros.recordings.bag_messages import typestore
from dino_foresight_ros.recordings.bag_topics import CAMERA_INFO_TYPE, COMPRESSED_TYPE, RAW_TYPE
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.image_decoding import Compression, encode_picture

Storage = Literal["mcap", "sqlite3"]

# Version 8 keeps QoS profiles as numbers in a text, which Humble, Iron, Jazzy and later all read;
# version 9, Jazzy's own, is refused by Humble.
# What may be replaced: a bag, compressed or not, and what SQLite leaves beside it.
_BAG_FILES = ("metadata.yaml", "*.mcap", "*.db3", "*.db3-*", "*.zstd", "*.lz4")
_BAG_VERSION: Literal[8] = 8
_INFINITE = QosTime(9223372036, 854775807)  # rmw's RMW_DURATION_INFINITE
_RELIABLE = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _INFINITE,
    _INFINITE,
    QosLiveliness.AUTOMATIC,
    _INFINITE,
    False,
)


class BagWriter:
    """Topics and messages of one bag that is being written; made by `create_bag`.

    Attributes:
        writer: the library's, which takes types of other packages, too.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._connections: dict[str, Any] = {}

    def write_image(
        self, topic: str, image: NDArray[np.uint8], stamp_ns: int, frame_id: str
    ) -> None:
        """Write (H, W, 3) uint8 RGB as sensor_msgs/Image, encoding rgb8."""
        self.write(topic, RAW_TYPE, stamp_ns, bag_messages.image(image, stamp_ns, frame_id))

    def write_compressed(
        self,
        topic: str,
        image: NDArray[np.uint8],
        stamp_ns: int,
        frame_id: str,
        compression: Compression,
        quality: int = 95,
    ) -> None:
        """Write (H, W, 3) uint8 RGB as sensor_msgs/CompressedImage; `quality` is for JPEG."""
        data = encode_picture(image, compression, quality)
        message = bag_messages.compressed_image(data, compression, stamp_ns, frame_id)
        self.write(topic, COMPRESSED_TYPE, stamp_ns, message)

    def write_camera_info(
        self, topic: str, camera: CameraModel, stamp_ns: int, frame_id: str
    ) -> None:
        """Write the intrinsics as sensor_msgs/CameraInfo of an unrectified single camera."""
        message = bag_messages.camera_info(camera, stamp_ns, frame_id)
        self.write(topic, CAMERA_INFO_TYPE, stamp_ns, message)

    def write(
        self, topic: str, msgtype: str, log_time_ns: int, message: Any, *, latched: bool = False
    ) -> None:
        """Write any message of the `typestore`; `latched` ones reach those who come later, too."""
        data = typestore().serialize_cdr(message, msgtype)
        self.write_serialized(topic, msgtype, log_time_ns, data, latched=latched)

    def write_serialized(
        self,
        topic: str,
        msgtype: str,
        log_time_ns: int,
        data: bytes | memoryview,
        *,
        latched: bool = False,
    ) -> None:
        """Write a message of a type in the `typestore` that is CDR already."""
        connection = self._connections.get(topic)
        if connection is None:
            qos = _RELIABLE._replace(durability=QosDurability.TRANSIENT_LOCAL)
            connection = self.writer.add_connection(
                topic,
                msgtype,
                typestore=typestore(),
                offered_qos_profiles=[qos if latched else _RELIABLE],
            )
            self._connections[topic] = connection
        self.writer.write(connection, log_time_ns, data)


@contextmanager
def create_bag(
    out: Path,
    storage: Storage = "mcap",
    *,
    force: bool = False,
    check: Callable[[Path], None] = lambda bag: None,
) -> Iterator[BagWriter]:
    """Write a new bag folder `out`; it appears only when everything was written.

    `check` gets the closed bag before it appears, and keeps it from doing so by an error.

    Raises InputError when `out` exists (unless `force`, which replaces a bag) or cannot be made.
    """
    check_output(out, force)
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with _scratch_folder(out) as scratch:
        # Named like the final folder, because the storage file is named after it.
        unfinished = scratch / out.name
        with Writer(unfinished, version=_BAG_VERSION, storage_plugin=plugin) as writer:
            yield BagWriter(writer)
        check(unfinished)
        swap_in(unfinished, out, scratch / "replaced")


@contextmanager
def create_mcap(out: Path, *, force: bool = False) -> Iterator[BagWriter]:
    """Write one .mcap file `out`, without a folder; it appears only when everything was written.

    Raises InputError when `out` exists (unless `force`, which replaces a file) or cannot be made.
    """
    check_file(out, force)
    with _scratch_folder(out) as scratch:
        with create_bag(scratch / "bag") as writer:
            yield writer
        (scratch / "bag" / "bag.mcap").replace(out)


@contextmanager
def _scratch_folder(out: Path) -> Iterator[Path]:
    """Make a folder beside `out` for the time of writing."""
    scratch: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        yield scratch
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def check_file(out: Path, force: bool) -> None:
    """Refuse an existing file, and with `force` anything that is not a file."""
    if not (out.exists() or out.is_symlink()):
        return
    if not force:
        raise InputError(f"{out} exists already; choose another name or add --force")
    if not out.is_file():
        raise InputError(f"{out} exists and is not a file; it is not replaced")


def check_output(out: Path, force: bool) -> None:
    """Refuse an existing output, and with `force` anything that is not a bag."""
    if not (out.exists() or out.is_symlink()):
        return
    if not force:
        raise InputError(f"{out} exists already; choose another name or add --force")
    if not (out.is_dir() and (out / "metadata.yaml").is_file()):
        raise InputError(f"{out} exists and is not a rosbag2 folder; it is not replaced")
    check_replaceable(out, _BAG_FILES)
