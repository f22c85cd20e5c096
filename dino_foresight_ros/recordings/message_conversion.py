"""Messages of other packages and encodings than ROS 2's sensor_msgs in CDR, turned into these.

Foxglove's CompressedImage, CompressedVideo, RawImage and CameraCalibration in CDR, Protobuf and
JSON; FFMPEGPacket of ffmpeg_image_transport; what ROS 1 wrote of the standard types.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings import bag_messages
from dino_foresight_ros.recordings.bag_messages import typestore
from dino_foresight_ros.stamps import NS_PER_S

CDR = "cdr"
OTHER_PACKAGES = ("foxglove", "ffmpeg_image_transport_msgs/")
"""What names of types begin with that CDR may hold, and that are converted."""
_STAMPED = "builtin_interfaces/Time timestamp\nstring frame_id\n"
_DEFINITIONS = {
    "foxglove_msgs/msg/CompressedImage": _STAMPED + "uint8[] data\nstring format\n",
    "foxglove_msgs/msg/CompressedVideo": _STAMPED + "uint8[] data\nstring format\n",
    "foxglove_msgs/msg/RawImage": _STAMPED
    + "uint32 width\nuint32 height\nstring encoding\nuint32 step\nuint8[] data\n",
    "foxglove_msgs/msg/CameraCalibration": _STAMPED
    + "uint32 width\nuint32 height\nstring distortion_model\n"
    "float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\n",
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "std_msgs/Header header\n"
    "int32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\n"
    "uint8[] data\n",
}


class Conversion(NamedTuple):
    """What a channel's messages become: the type in ROS 2, and how.

    `convert` takes the stored bytes and returns CDR, nothing for a damaged message.
    """

    msgtype: str
    convert: Callable[[bytes], bytes]


def find_conversion(name: str, encoding: str = CDR, schema: bytes = b"") -> Conversion | None:
    """How to read messages that are not of ROS 2's standard types in CDR; None where nobody knows.

    Args:
        name: of the type, as the recording has it.
        encoding: of the messages, such as cdr, protobuf, json, ros1.
        schema: what the recording says of the type.
    """
    if encoding == "ros1":
        msgtype = name if "/msg/" in name else name.replace("/", "/msg/")
        if msgtype not in typestore().types:
            return None
        return Conversion(
            msgtype, _checked(lambda data: bytes(typestore().ros1_to_cdr(data, msgtype)))
        )
    full = name.replace("foxglove.", "foxglove_msgs/msg/")
    if "/msg/" not in full:
        full = full.replace("/", "/msg/")
    build = _BUILDERS.get(full)
    if build is None:
        return None
    msgtype, make = build
    read: Callable[[bytes], Any]
    if encoding == CDR:
        _register()
        read = lambda data: typestore().deserialize_cdr(data, full)  # noqa: E731
    elif encoding == "json":
        read = _read_json
    elif encoding == "protobuf" and (message := _protobuf_class(name, schema)) is not None:
        read = message.FromString
    else:
        return None
    return Conversion(
        msgtype, _checked(lambda data: bytes(typestore().serialize_cdr(make(read(data)), msgtype)))
    )


def _checked(convert: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def checked(data: bytes) -> bytes:
        try:
            return convert(data)
        except Exception:  # noqa: BLE001 - each decoder has error kinds of its own
            return b""

    return checked


@cache
def _register() -> None:
    """Teach the typestore the types of these packages."""
    from rosbags.typesys import get_types_from_msg

    for name, text in _DEFINITIONS.items():
        typestore().register(get_types_from_msg(text, name))


def _protobuf_class(name: str, schema: bytes) -> Any:
    """The class of a message whose FileDescriptorSet the recording holds; None without protobuf."""
    try:
        from google.protobuf import (
            descriptor_pb2,
            descriptor_pool,
            message_factory,
        )
    except ImportError:
        return None
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(schema)
        pool = descriptor_pool.DescriptorPool()
        left = {file.name: file for file in files.file}
        while left:  # what a file imports must be known before it
            ready = [f for f in left.values() if not left.keys() & set(f.dependency)]
            for file in ready:
                pool.Add(left.pop(file.name))
            if not ready:
                return None
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except Exception:  # noqa: BLE001 - a schema that is none
        return None


def _read_json(data: bytes) -> Any:
    fields = json.loads(data)
    if "data" in fields:
        fields["data"] = base64.b64decode(fields["data"], validate=True)
    return SimpleNamespace(**fields)


def _header(message: Any) -> Any:
    """std_msgs/Header of a Foxglove message; its time has other names in each encoding."""
    stamp: Any = message.timestamp
    if isinstance(stamp, dict):
        stamp_ns = int(stamp["sec"]) * NS_PER_S + int(
            stamp.get("nsec") or stamp.get("nanosec") or 0
        )
    elif hasattr(stamp, "nanosec"):
        stamp_ns = stamp.sec * NS_PER_S + stamp.nanosec
    else:
        stamp_ns = stamp.seconds * NS_PER_S + stamp.nanos
    return bag_messages.header(stamp_ns, str(message.frame_id))


def _bytes(data: Any) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _compressed(message: Any) -> Any:
    """sensor_msgs/CompressedImage of Foxglove's, also of its video."""
    return bag_messages.make(
        "sensor_msgs/msg/CompressedImage",
        header=_header(message),
        format=str(message.format),
        data=_bytes(message.data),
    )


def _packet(message: Any) -> Any:
    """sensor_msgs/CompressedImage of a FFMPEGPacket; `format` is the codec."""
    return bag_messages.make(
        "sensor_msgs/msg/CompressedImage",
        header=message.header,
        format=str(message.encoding),
        data=_bytes(message.data),
    )


def _raw(message: Any) -> Any:
    """sensor_msgs/Image of Foxglove's, in which 8UC3 is bgr8 and 8UC1 mono8."""
    encoding = str(message.encoding)
    return bag_messages.make(
        "sensor_msgs/msg/Image",
        header=_header(message),
        height=int(message.height),
        width=int(message.width),
        encoding={"8UC3": "bgr8", "8UC1": "mono8"}.get(encoding, encoding),
        is_bigendian=0,
        step=int(message.step),
        data=_bytes(message.data),
    )


def _calibration(message: Any) -> Any:
    """sensor_msgs/CameraInfo of Foxglove's CameraCalibration."""

    def numbers(name: str) -> NDArray[np.float64]:
        found = getattr(message, name, None)
        return np.array(getattr(message, name.lower(), ()) if found is None else found, np.float64)

    return bag_messages.make(
        "sensor_msgs/msg/CameraInfo",
        header=_header(message),
        height=int(message.height),
        width=int(message.width),
        distortion_model=str(message.distortion_model),
        d=numbers("D"),
        k=numbers("K"),
        r=numbers("R"),
        p=numbers("P"),
        binning_x=0,
        binning_y=0,
        roi=bag_messages.whole_image(),
    )


_COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
_BUILDERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "foxglove_msgs/msg/CompressedImage": (_COMPRESSED_TYPE, _compressed),
    "foxglove_msgs/msg/CompressedVideo": (_COMPRESSED_TYPE, _compressed),
    "foxglove_msgs/msg/RawImage": ("sensor_msgs/msg/Image", _raw),
    "foxglove_msgs/msg/CameraCalibration": ("sensor_msgs/msg/CameraInfo", _calibration),
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": (_COMPRESSED_TYPE, _packet),
}
