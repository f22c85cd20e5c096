"""MCAP files that ROS 2 did not write: Foxglove's messages, ROS 1, and what nobody reads."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mcap.writer import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import open_recording, open_recordings
from dino_foresight_ros.recordings.bag_messages import compressed_image, header, typestore
from dino_foresight_ros.recordings.bag_writer import create_bag

COUNT, START_NS, STEP_NS = 5, 1_700_000_000_123_456_789, 100_000_000
K = [20.0, 0.0, 16.0, 0.0, 21.0, 12.0, 0.0, 0.0, 1.0]


def picture(index: int) -> np.ndarray:
    """(24, 32, 3) noise of its own for each index."""
    return np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)


def png(index: int) -> bytes:
    bgr = np.ascontiguousarray(picture(index)[..., ::-1])
    return cv2.imencode(".png", bgr)[1].tobytes()


def stamp_ns(index: int) -> int:
    return START_NS + index * STEP_NS


def write(path: Path, channels: dict[str, tuple[str, str, bytes, str, Any]], profile: str) -> Path:
    """A file of channels: topic -> type, its schema's encoding and data, encoding, messages."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile=profile)
        ids = {}
        for topic, (name, kind, data, encoding, _) in channels.items():
            schema = writer.register_schema(name, kind, data)
            ids[topic] = writer.register_channel(topic, encoding, schema)
        for index in range(COUNT):
            for topic, (*_, message) in channels.items():
                # Logged a little later than the camera's own stamp.
                log_ns = stamp_ns(index) + 7
                writer.add_message(ids[topic], log_ns, message(index), log_ns)
        writer.finish()
    return path


def check(path: Path, frame_id: str = "optical") -> Any:
    """Every frame is right, played and at random, and nothing is said; return the camera."""
    with open_recording(path) as played:
        frames = list(played.frames())
        assert [f.stamp_ns for f in frames] == [stamp_ns(index) for index in range(COUNT)]
        assert all(np.array_equal(f.image, picture(f.index)) for f in frames)
        assert {f.frame_id for f in frames} == {frame_id}
        assert played.warnings == []
    said: list[str] = []
    (recording,) = open_recordings([str(path)], said.append)
    for index in (COUNT - 1, 0):
        assert np.array_equal(recording.read([index])[0].image, picture(index))
    assert recording.stamps_ns.tolist() == [stamp_ns(index) for index in range(COUNT)]
    assert said == []
    return played.camera


def json_time(index: int) -> dict[str, Any]:
    sec, nsec = divmod(stamp_ns(index), 10**9)
    return {"timestamp": {"sec": sec, "nsec": nsec}, "frame_id": "optical"}


def json_image(index: int) -> bytes:
    data = base64.b64encode(png(index)).decode()
    return json.dumps({**json_time(index), "data": data, "format": "png"}).encode()


def json_raw(index: int) -> bytes:
    fields = {"width": 32, "height": 24, "encoding": "8UC3", "step": 96}
    data = base64.b64encode(picture(index)[..., ::-1].tobytes()).decode()
    return json.dumps({**json_time(index), **fields, "data": data}).encode()


def json_calibration(index: int) -> bytes:
    fields = {"width": 32, "height": 24, "distortion_model": "plumb_bob", "D": [0.1], "K": K}
    return json.dumps({**json_time(index), **fields, "R": [1.0] * 9, "P": [1.0] * 12}).encode()


@pytest.mark.parametrize(
    ("name", "message"), [("CompressedImage", json_image), ("RawImage", json_raw)]
)
def test_foxglove_json(tmp_path: Path, name: str, message: Any) -> None:
    channels = {
        "/cam/image": (f"foxglove.{name}", "jsonschema", b"{}", "json", message),
        "/cam/camera_info": (
            "foxglove.CameraCalibration", "jsonschema", b"{}", "json", json_calibration,
        ),
        "/log": ("foxglove.Log", "jsonschema", b"{}", "json", lambda index: b"{}"),
    }  # fmt: skip
    camera = check(write(tmp_path / "a.mcap", channels, ""))
    assert (camera.k, camera.d, camera.width) == (tuple(K), (0.1,), 32)


def test_foxglove_protobuf(tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf", reason="needs protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

    time_file = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(time_file)
    file = descriptor_pb2.FileDescriptorProto(
        name="foxglove/CompressedImage.proto",
        package="foxglove",
        syntax="proto3",
        dependency=[time_file.name],
    )
    kind = file.message_type.add(name="CompressedImage")
    field = descriptor_pb2.FieldDescriptorProto
    optional = field.LABEL_OPTIONAL
    kind.field.add(
        name="timestamp", number=1, label=optional, type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Timestamp",
    )  # fmt: skip
    for name, number, type_ in (
        ("data", 2, field.TYPE_BYTES),
        ("format", 3, field.TYPE_STRING),
        ("frame_id", 4, field.TYPE_STRING),
    ):
        kind.field.add(name=name, number=number, label=optional, type=type_)
    pool = descriptor_pool.DescriptorPool()
    for one in (time_file, file):
        pool.Add(one)
    cls = message_factory.GetMessageClass(pool.FindMessageTypeByName("foxglove.CompressedImage"))

    def message(index: int) -> bytes:
        made = cls(data=png(index), format="png", frame_id="optical")
        made.timestamp.seconds, made.timestamp.nanos = divmod(stamp_ns(index), 10**9)
        return bytes(made.SerializeToString())

    # What imports comes first here.
    schema = descriptor_pb2.FileDescriptorSet(file=[file, time_file]).SerializeToString()
    channels = {"/cam": ("foxglove.CompressedImage", "protobuf", schema, "protobuf", message)}
    path = write(tmp_path / "a.mcap", channels, "")
    check(path)
    # A damaged message is one bad frame.
    broken = {
        **channels,
        "/cam": (*channels["/cam"][:4], lambda i: b"\xff" if i == 2 else message(i)),
    }
    with open_recording(write(path, broken, "")) as played:
        assert [frame.index for frame in played.frames()] == [0, 1, 3, 4]
        assert played.warnings == ["a.mcap: picture 2 of /cam skipped: the message is damaged"]


def test_ros_1_messages(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    name = "sensor_msgs/msg/CompressedImage"

    def message(index: int) -> bytes:
        sec, nanosec = divmod(stamp_ns(index), 10**9)
        time = store.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
        head = store.types["std_msgs/msg/Header"](seq=index, stamp=time, frame_id="optical")
        data = np.frombuffer(png(index), np.uint8)
        made = store.types[name](header=head, format="png", data=data)
        return bytes(store.serialize_ros1(made, name))

    channels = {"/cam": ("sensor_msgs/CompressedImage", "ros1msg", b"", "ros1", message)}
    check(write(tmp_path / "a.mcap", channels, "ros1"))


def cdr(index: int) -> bytes:
    message = compressed_image(
        np.frombuffer(png(index), np.uint8), "png", stamp_ns(index), "optical"
    )
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


def test_a_healthy_file_without_a_profile_is_not_called_damaged(tmp_path: Path) -> None:
    name = "sensor_msgs/msg/CompressedImage"
    path = write(tmp_path / "a.mcap", {"/cam": (name, "ros2msg", b"", "cdr", cdr)}, "")
    check(path)
    path.write_bytes(path.read_bytes()[:-60])
    with open_recording(path) as played:
        list(played.frames())
        assert played.truncated


@pytest.mark.parametrize(
    ("package", "fields"),
    [
        ("foxglove_msgs/msg/CompressedImage", ("timestamp", "format")),
        ("ffmpeg_image_transport_msgs/msg/FFMPEGPacket", ("header", "encoding")),
    ],
)
def test_other_packages_messages_in_a_bag(
    tmp_path: Path, package: str, fields: tuple[str, str]
) -> None:
    """A store of its own, with the packages' definitions as they are published."""
    foxglove = "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
    ffmpeg = (
        "std_msgs/Header header\nint32 width # original image width\nint32 height\n"
        "string encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\nuint8[] data\n"
    )
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(foxglove if "foxglove" in package else ffmpeg, package))
    with create_bag(tmp_path / "bag") as writer:
        raw: Any = writer.writer
        connection = raw.add_connection("/cam", package, typestore=store)
        for index in range(COUNT):
            data = np.frombuffer(png(index), np.uint8)
            head = header(stamp_ns(index), "optical")
            if "foxglove" in package:
                made = store.types[package](head.stamp, head.frame_id, data, "png")
            else:
                made = store.types[package](head, 32, 24, "png", index, 1, False, data)
            raw.write(connection, stamp_ns(index) + 7, store.serialize_cdr(made, package))
    check(tmp_path / "bag")


def test_what_nobody_reads_is_named_with_what_to_do(tmp_path: Path) -> None:
    channels = {
        "/cam": ("foxglove.CompressedImage", "flatbuffer", b"", "flatbuffer", png),
        "/log": ("Log", "omgidl", b"", "cdr", png),
    }
    path = write(tmp_path / "a.mcap", channels, "")
    with pytest.raises(InputError) as caught:
        open_recording(path)
    assert str(caught.value) == (
        f"{path} holds no image topic; its topics: /cam (foxglove.CompressedImage in flatbuffer), "
        "/log (Log); messages in flatbuffer are not read: convert them to a rosbag2"
    )
